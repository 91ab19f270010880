"""How long llama.cpp takes to load a candidate in one file, one shard a layer and one shard a tensor,
and how fast tensors are quantized next to llama.cpp's own quantizer.

    python -m benchmarks.assembly                        the bundled model and a synthetic one of 1,003 weights
    python -m benchmarks.assembly --model FILE.gguf      another model
    python -m benchmarks.assembly --preset Q4_K_M --repeat 9 --threads 2

Ways are timed in turn, and the shortest time of each counts, on the clock and of the processor (user and system, all
threads): the second is what to compare on a busy machine. Page cache is warm. Results: docs/bank.md.
"""

import argparse
import ctypes
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import llama_cpp

from optimizer import llama
from optimizer.gguf.model_file import ModelFile
from optimizer.quantization import ShardBank, assemble, join, quantize, raise_open_file_limit
from optimizer.recipes.presets import load_presets
from tests.models import tiny_model

DEMO = Path(__file__).parent.parent / "demo" / "model" / "demo-F16.gguf"
SYNTHETIC_LAYERS = 143  # of seven weights: 1,003 with embeddings and output


class Times(NamedTuple):
    """Seconds of one way: on the clock, and of the processor over all threads."""

    clock: float
    processor: float


def shortest(ways: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, Times]:
    """Time every way, in turn, `repeat` times; the shortest of each."""
    infinite = Times(float("inf"), float("inf"))
    times = dict.fromkeys(ways, infinite)
    for _ in range(repeat):
        for name, way in ways.items():
            clock, processor = time.perf_counter(), time.process_time()
            way()
            spent = time.perf_counter() - clock, time.process_time() - processor
            times[name] = Times(min(spent[0], times[name].clock), min(spent[1], times[name].processor))
    return times


def show(label: str, times: Times, base: Times | None = None) -> None:
    line = f"  {label:<40} clock {times.clock * 1e3:9.1f} ms, processor {times.processor * 1e3:9.1f} ms"
    if base is not None:
        line += f"   {times.clock / base.clock:5.2f} x, {times.processor / base.processor:5.2f} x"
    print(line, flush=True)


def load(paths: Sequence[Path]) -> None:
    parameters = llama_cpp.llama_model_default_params()
    if len(paths) == 1:
        model = llama_cpp.llama_model_load_from_file(str(paths[0]).encode(), parameters)
    else:
        names = (ctypes.c_char_p * len(paths))(*[str(path).encode() for path in paths])
        model = llama_cpp.llama_model_load_from_splits(names, len(paths), parameters)
    if not model:
        raise SystemExit(f"llama.cpp does not load {paths[0]} and {len(paths) - 1} more")
    llama_cpp.llama_model_free(model)


def measure_loading(path: Path, preset: str, folder: Path, repeat: int) -> None:
    model = ModelFile.open(path)
    presets = load_presets(model)
    recipe, names = presets[preset].recipe, presets.quantizable
    with ShardBank(folder / "bank") as bank:
        tensors = assemble(model, recipe, names, bank)
        layers = assemble(model, recipe, names, bank, max_files=model.n_layer + 2)
        whole = join(model, tensors, folder / "whole.gguf")
        again = shortest({"again": lambda: assemble(model, recipe, names, bank).close()}, repeat)["again"]
    with ShardBank(folder / "bank") as fresh:
        first = shortest({"first": lambda: assemble(model, recipe, names, fresh).close()}, 1)["first"]
    ways = {"one file": (whole,), "one shard a layer": layers.paths, "one shard a tensor": tensors.paths}
    times = shortest({name: lambda paths=paths: load(paths) for name, paths in ways.items()}, repeat)
    print(f"\n{path.name}, {preset}: {len(model.tensors)} tensors, {whole.stat().st_size / 1e6:.1f} MB in one file")
    for name, spent in times.items():
        show(f"load, {name} ({len(ways[name])} files)", spent, times["one file"])
    show("assemble, first time (checksums read)", first)
    show("assemble, afterwards", again)


def measure_quantizing(path: Path, preset: str, folder: Path, repeat: int, threads: int) -> None:
    model = ModelFile.open(path)
    presets = load_presets(model)
    recipe, names = presets[preset].recipe, presets.quantizable
    banks = iter(range(1 << 30))

    def through_a_bank() -> None:
        with ShardBank(folder / f"fresh-{next(banks)}", threads=threads) as bank:
            assemble(model, recipe, names, bank).close()

    def straight() -> None:
        quantize(model, recipe, names, folder / "straight.gguf", threads=threads)

    def by_llama() -> None:
        llama.quantize_file(path, folder / "llama.gguf", preset, threads=threads)

    ways = {"llama_model_quantize": by_llama, "into one file": straight, "into an empty bank": through_a_bank}
    times = shortest(ways, repeat)
    print(f"\n{path.name}, {preset}, {threads} threads")
    for name, spent in times.items():
        show(f"quantize, {name}", spent, times["llama_model_quantize"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEMO)
    parser.add_argument("--preset", default="Q4_K_M")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    raise_open_file_limit()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many = tiny_model(folder / "many", n_layer=SYNTHETIC_LAYERS, ffn=256, name="synthetic")
        wide = tiny_model(folder / "wide", n_layer=1, n_embd=1024, ffn=4096, n_head=8, name="wide")
        for path in (arguments.model, many):
            measure_loading(path, arguments.preset, folder / path.stem, arguments.repeat)
        for path in (arguments.model, wide):
            measure_quantizing(path, arguments.preset, folder / path.stem, arguments.repeat, arguments.threads)


if __name__ == "__main__":
    main()
