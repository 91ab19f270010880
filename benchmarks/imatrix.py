"""Tokens a second of `layerquant imatrix` next to llama-imatrix: same model, text, threads and flags.

    python -m benchmarks.imatrix BIN                     BIN holds llama-imatrix of the pinned version
    python -m benchmarks.imatrix BIN --model FILE.gguf --chunks 96 --rounds 5 --threads 2

To build llama-imatrix see tests/evaluators/make_fixtures.sh. Each way is run as a whole command, with few chunks and
with many, in turn; the shortest time of each counts, on the clock and of the processor (all threads): on a busy machine
compare the second, with one thread. Tokens a second are those of the difference between many and few chunks, so that
starting up does not count; the whole command's seconds are shown as well. llama-imatrix runs without its perplexity
(--no-ppl), with threads that wait as this program's do; --spinning runs it with its own waiting as well, which takes
many times longer on a busy machine. Both files must be equal. Results: docs/log.md.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evaluators.child_process import CHILD_ENVIRONMENT

ROOT = Path(__file__).resolve().parent.parent


class Times(NamedTuple):
    """Seconds on the clock, and of the processor over all threads and processes."""

    clock: float
    processor: float

    def shorter(self, other: "Times") -> "Times":
        return Times(min(self.clock, other.clock), min(self.processor, other.processor))


UNKNOWN = Times(float("inf"), float("inf"))


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command: Sequence[str | Path], environment: Mapping[str, str]) -> Times:
    clock, processor = time.perf_counter(), processor_seconds()
    done = subprocess.run(
        [str(word) for word in command], env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True,
        errors="replace",
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return Times(time.perf_counter() - clock, processor_seconds() - processor)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    theirs = [
        options.bin / "llama-imatrix", "-m", options.model, "-f", options.text, "-t", options.threads,
        "-c", options.ctx_size, "--no-ppl",
    ]  # fmt: skip
    ours = [
        sys.executable, "-m", "optimizer.cli", "imatrix", options.model, "--text", options.text, "-t", options.threads,
        "-c", options.ctx_size,
    ]  # fmt: skip
    library = {"LD_LIBRARY_PATH": str(options.bin)}
    ways = {"layerquant": (ours, {}), "llama-imatrix": (theirs, library | CHILD_ENVIRONMENT)}
    if options.spinning:
        ways["llama-imatrix, spinning"] = (theirs, library)
    few, many = options.chunks // 4, options.chunks
    shortest = {name: {few: UNKNOWN, many: UNKNOWN} for name in ways}
    loads = []
    for _ in range(options.rounds):
        for count in (few, many):
            for name, (command, environment) in ways.items():
                loads.append(os.getloadavg()[0])
                out = folder / f"{name}.gguf"
                spent = run([*command, "--chunks", str(count), "-o", out], environment)
                shortest[name][count] = spent.shorter(shortest[name][count])
    files = {(folder / f"{name}.gguf").read_bytes() for name in ways}
    tokens = (many - few) * int(options.ctx_size)

    def speeds(kind: int) -> dict[str, float]:
        return {name: round(tokens / (spent[many][kind] - spent[few][kind]), 1) for name, spent in shortest.items()}

    def ratio(found: Mapping[str, float]) -> float:
        return round(found["layerquant"] / max(speed for name, speed in found.items() if name != "layerquant"), 3)

    clock, processor = speeds(0), speeds(1)
    return {
        "model": options.model.name,
        "chunks": [few, many],
        "threads": int(options.threads),
        "tokens_per_second": clock,
        "ratio": ratio(clock),
        "tokens_per_processor_second": processor,
        "ratio_of_processor_time": ratio(processor),
        "whole_seconds": {name: round(spent[many].clock, 2) for name, spent in shortest.items()},
        "equal_files": len(files) == 1,
        "load_average": [round(min(loads), 1), round(max(loads), 1)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin", type=lambda name: Path(name).resolve(), metavar="BIN")
    parser.add_argument("--model", type=lambda name: Path(name).resolve(), default=ROOT / "demo/model/demo-F16.gguf")
    parser.add_argument("--text", type=lambda name: Path(name).resolve(), default=ROOT / "demo/texts/imatrix.txt")
    parser.add_argument("--chunks", type=int, default=96)
    parser.add_argument("--ctx-size", default="512")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spinning", action="store_true", help="llama-imatrix with its own way of waiting as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(options, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
