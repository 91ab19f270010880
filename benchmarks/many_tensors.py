"""How long a model of 1,000 and more tensors takes to plan, and a candidate of it to be put together from a full bank.

    python -m benchmarks.many_tensors                 both models below; about a minute
    python -m benchmarks.many_tensors --repeat 9      the shortest of nine instead of five
    python -m benchmarks.many_tensors --keep FOLDER   keep models and bank there for the next run

Two models: 144 small layers of random experts, 1,010 weights to quantize among 1,731 tensors; and the header alone of a
model of the shape of Qwen3-235B-A22B, 1,131 tensors and a vocabulary of 151,936. A plan is the whole command,
`layerquant plan MODEL --json`, from its start to its end: cold, with nothing known of the model, and warm, with
llama.cpp's answers in the cache. A candidate mixes two presets tensor by tensor, another mix each time; the first of a
new bank object reads the shards' checksums once. Results: docs/log.md.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from optimizer.gguf.model_file import ModelFile
from optimizer.quantization import ShardBank, assemble
from optimizer.recipes.presets import load_presets
from optimizer.recipes.recipe import Recipe
from tests.models import header_only, tiny_model

LAYERS, EXPERTS, WIDTH = 144, 2, 256
HEADER = "qwen3-235b-a22b"
PRESETS = ("Q3_K_M", "Q4_K_M")


def shortest(way: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Seconds on the clock, and of the processor in this process and its children; the shortest of each."""
    clock, processor = [], []
    for _ in range(repeat):
        started, used = time.perf_counter(), sum(os.times()[:4])
        way()
        clock.append(time.perf_counter() - started)
        processor.append(sum(os.times()[:4]) - used)
    return min(clock), min(processor)


def show(label: str, times: tuple[float, float]) -> None:
    print(f"  {label:<34} clock {times[0]:6.2f} s, processor {times[1]:6.2f} s", flush=True)


def plan(model: Path, cache: Path) -> None:
    command = [sys.executable, "-m", "optimizer.cli", "plan", str(model), "--json"]
    environment = os.environ | {"LAYERQUANT_CACHE_DIR": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert json.loads(done.stdout)["presets"]


def measure_plans(model: Path, repeat: int) -> None:
    tensors = ModelFile.open(model, planning=True).tensors
    print(f"{model.name}: {len(tensors)} tensors, {model.stat().st_size / 1e6:.0f} MB")
    with tempfile.TemporaryDirectory() as name:
        folders = iter(range(1 << 30))
        show("plan, cold", shortest(lambda: plan(model, Path(name) / str(next(folders))), repeat))
        show("plan, warm", shortest(lambda: plan(model, Path(name) / "0"), repeat))


def measure_candidates(path: Path, folder: Path, repeat: int) -> None:
    model = ModelFile.open(path)
    presets = load_presets(model)
    names = presets.quantizable
    draw = random.Random(0)

    def mix() -> Recipe:
        return Recipe({name: presets[draw.choice(PRESETS)].tensor_types[name] for name in names})

    with ShardBank(folder / "bank") as bank:
        started = time.perf_counter()
        for preset in PRESETS:
            assemble(model, presets[preset].recipe, names, bank).close()
        print(f"  the bank is filled: {bank.stats().shards} shards in {time.perf_counter() - started:.0f} s")
    with ShardBank(folder / "bank") as bank:
        show("candidate, first", shortest(lambda: assemble(model, mix(), names, bank).close(), 1))
        show("candidate, afterwards", shortest(lambda: assemble(model, mix(), names, bank).close(), repeat))


@contextmanager
def work_folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="many-tensors-") as name:
        yield Path(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    with work_folder(arguments.keep) as folder:
        experts, header = folder / "experts.gguf", folder / f"{HEADER}-F16.gguf"
        if not experts.exists():
            tiny_model(folder, "qwen3moe", n_layer=LAYERS, n_embd=WIDTH, ffn=WIDTH, experts=EXPERTS, name="experts")
        if not header.exists():
            header_only(folder, HEADER)
        measure_plans(header, arguments.repeat)
        measure_plans(experts, arguments.repeat)
        measure_candidates(experts, folder, arguments.repeat)


if __name__ == "__main__":
    main()
