"""Tokens a second of `layerquant imatrix` next to llama-imatrix: same model, text, threads and flags.

    python -m benchmarks.imatrix BIN                     BIN holds llama-imatrix of the pinned version
    python -m benchmarks.imatrix BIN --model FILE.gguf --chunks 96 --rounds 5 --threads 2

To build llama-imatrix see tests/evaluators/make_fixtures.sh. Each way is run as a whole command, with few chunks and
with many, in turn; the shortest time of each counts. Tokens a second are those of the difference between the two, so
that starting up does not count; the whole command's seconds are shown as well. llama-imatrix runs without its
perplexity (--no-ppl), once as it is and once with threads that wait as this program's do, which matters on a busy
machine: the faster of the two is what is compared with. Both files must be equal. Results: docs/log.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluators.process import _ENVIRONMENT

ROOT = Path(__file__).resolve().parent.parent


def seconds(command: Sequence[str | Path], environment: Mapping[str, str]) -> float:
    started = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command], env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True,
        errors="replace",
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - started


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
    ways = {
        "layerquant": (ours, {}),
        "llama-imatrix": (theirs, library),
        "llama-imatrix, waiting as layerquant": (theirs, library | _ENVIRONMENT),
    }
    counts = (options.chunks // 4, options.chunks)
    shortest = {name: dict.fromkeys(counts, float("inf")) for name in ways}
    loads = []
    for _ in range(options.rounds):
        for name, (command, environment) in ways.items():
            for count in counts:
                loads.append(os.getloadavg()[0])
                out = folder / f"{name.partition(',')[0]}.gguf"
                spent = seconds([*command, "--chunks", str(count), "-o", out], environment)
                shortest[name][count] = min(shortest[name][count], spent)
    equal = (folder / "layerquant.gguf").read_bytes() == (folder / "llama-imatrix.gguf").read_bytes()
    tokens = (counts[1] - counts[0]) * int(options.ctx_size)
    speeds = {name: tokens / (spent[counts[1]] - spent[counts[0]]) for name, spent in shortest.items()}
    best = max(speed for name, speed in speeds.items() if name != "layerquant")
    return {
        "model": options.model.name,
        "chunks": list(counts),
        "threads": int(options.threads),
        "tokens_per_second": {name: round(speed, 1) for name, speed in speeds.items()},
        "whole_seconds": {name: round(spent[counts[1]], 2) for name, spent in shortest.items()},
        "ratio": round(speeds["layerquant"] / best, 3),
        "equal_files": equal,
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(options, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
