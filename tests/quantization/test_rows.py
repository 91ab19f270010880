"""Tensors equal llama-quantize's bit for bit: every type, every source type, matrices and experts, any slab."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from optimizer import llama
from optimizer.errors import GgufError, StorageError
from optimizer.gguf.header import TensorInfo
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.tensor_types import TARGET_TYPES
from optimizer.quantization import Imatrix, rows
from optimizer.quantization.imatrix import LOW_BIT_TYPES, UNWEIGHTED_TYPES
from optimizer.quantization.jobs import tensor_job
from optimizer.quantization.rows import RowQuantizer, TensorJob
from tests.models import tiny_model
from tests.quantization.conftest import Subject, imatrix_of

SMALL = {"n_layer": 1, "ffn": 256}


def quantized(model: ModelFile, tensor_type: str, imatrix: Imatrix | None, names: list[str]) -> dict[str, bytes]:
    quantizer = RowQuantizer(2)
    try:
        jobs = [tensor_job(model.by_name[name], tensor_type, imatrix, allow_requantize=True) for name in names]
        made = dict.fromkeys(names, b"")
        for slab in quantizer.slabs(jobs):
            made[names[slab.job]] += slab.data.tobytes()
    finally:
        quantizer.close()
    return made


def by_llama(source: Path, folder: Path, tensor_type: str, imatrix: Imatrix | None, base: str = "Q4_0") -> ModelFile:
    out = folder / "by-llama.gguf"
    llama.quantize_file(
        source,
        out,
        base,
        tensor_types={".*": tensor_type},
        importance=None if imatrix is None else dict(imatrix.vectors),
        allow_requantize=True,
        threads=2,
    )
    return ModelFile.open(out)


def data_of(tensor: TensorInfo) -> bytes:
    with tensor.path.open("rb") as file:
        file.seek(tensor.offset)
        return file.read(tensor.n_bytes)


def check(source: Path, folder: Path, tensor_type: str, *, with_imatrix: bool) -> None:
    model = ModelFile.open(source)
    imatrix = imatrix_of(model) if with_imatrix else None
    expected = by_llama(source, folder, tensor_type, imatrix)
    names = [tensor.name for tensor in expected.tensors if len(tensor.shape) > 1 and "gate_inp" not in tensor.name]
    assert all(expected.by_name[name].tensor_type == tensor_type for name in names)
    made = quantized(model, tensor_type, imatrix, names)
    differing = [name for name in names if made[name] != data_of(expected.by_name[name])]
    assert not differing


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    made = {kind: tiny_model(folder / kind, tensor_type=kind, **SMALL) for kind in ("F16", "BF16", "F32")}
    made["experts"] = tiny_model(folder / "experts", "qwen3moe", experts=3, **SMALL)
    return made


@pytest.mark.parametrize("tensor_type", TARGET_TYPES)
@pytest.mark.parametrize("source", ["F16", "BF16", "F32", "experts"])
def test_equals_llama_quantize_with_an_imatrix(
    sources: dict[str, Path], tmp_path: Path, source: str, tensor_type: str
) -> None:
    check(sources[source], tmp_path, tensor_type, with_imatrix=True)


@pytest.mark.parametrize("tensor_type", [name for name in TARGET_TYPES if name not in LOW_BIT_TYPES])
@pytest.mark.parametrize("source", ["F16", "experts"])
def test_equals_llama_quantize_without_an_imatrix(
    sources: dict[str, Path], tmp_path: Path, source: str, tensor_type: str
) -> None:
    check(sources[source], tmp_path, tensor_type, with_imatrix=False)


@pytest.mark.parametrize("source_type", ["Q8_0", "Q4_K", "MXFP4"])
def test_equals_llama_quantize_when_requantizing(sources: dict[str, Path], tmp_path: Path, source_type: str) -> None:
    first = by_llama(sources["F16"], tmp_path, source_type, None).paths[0].rename(tmp_path / "quantized.gguf")
    check(first, tmp_path, "Q5_K", with_imatrix=False)


def test_types_said_to_ignore_importance_do(dense: Subject) -> None:
    # importance_for() gives these none; were that wrong for one, llama-quantize's file would differ above.
    assert UNWEIGHTED_TYPES.isdisjoint(LOW_BIT_TYPES)
    tensor = dense.model.by_name["blk.0.attn_q.weight"]
    assert tensor_job(tensor, "Q8_0", imatrix_of(dense.model)).importance is None
    assert tensor_job(tensor, "Q4_0", imatrix_of(dense.model)).importance is not None


@pytest.mark.parametrize("height", [1, 7, 100, 1000])
def test_slabs_of_any_height_give_the_same_bytes(
    sources: dict[str, Path], height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelFile.open(sources["experts"])
    names = ["blk.0.ffn_down_exps.weight", "blk.0.attn_q.weight"]
    expected = quantized(model, "Q4_K", imatrix_of(model), names)
    monkeypatch.setattr(rows, "_SLAB_ELEMENTS", height * 256)
    monkeypatch.setattr(rows, "_SMALLEST_SLAB_ELEMENTS", height * 256)
    assert quantized(model, "Q4_K", imatrix_of(model), names) == expected


def raw_tensor(path: Path, values: np.ndarray, tensor_type: str) -> TensorInfo:
    path.write_bytes(values.tobytes())
    return TensorInfo("weight", tuple(reversed(values.shape)), tensor_type, path, 0, values.nbytes)


def test_working_memory_stays_below_its_limit(tmp_path: Path) -> None:
    values = np.zeros((4096, 4096), np.float16)
    tensor = raw_tensor(tmp_path / "raw", values, "F16")
    del values
    limit = 6 * 1024**2
    quantizer = RowQuantizer(2, limit)
    made = 0
    tracemalloc.start()
    try:
        for slab in quantizer.slabs([TensorJob(tensor, "Q8_0")]):
            made += slab.data.nbytes
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        quantizer.close()
    assert made == 4096 * 4096 // 32 * 34
    assert limit / 4 < peak < limit + 256 * 1024  # the rest: futures, and what tracemalloc itself sees of Python


def test_a_source_with_nan_is_refused(tmp_path: Path) -> None:
    values = np.zeros((4, 256), np.float16)
    values[2, 3] = np.nan
    tensor = raw_tensor(tmp_path / "raw", values, "F16")
    quantizer = RowQuantizer(1)
    with pytest.raises(GgufError, match="NaN"):
        list(quantizer.slabs([TensorJob(tensor, "Q8_0")]))
    quantizer.close()


def test_a_source_that_shrinks_or_vanishes_is_named(tmp_path: Path) -> None:
    tensor = raw_tensor(tmp_path / "raw", np.zeros((64, 256), np.float32), "F32")
    quantizer = RowQuantizer(2)
    tensor.path.write_bytes(b"\0" * 1000)
    with pytest.raises(GgufError, match="truncated"):
        list(quantizer.slabs([TensorJob(tensor, "Q8_0")]))
    tensor.path.unlink()
    with pytest.raises(StorageError, match="cannot be read any more"):
        list(quantizer.slabs([TensorJob(tensor, "Q8_0")]))
    quantizer.close()


def test_stops_between_slabs(tmp_path: Path) -> None:
    tensor = raw_tensor(tmp_path / "raw", np.zeros((4096, 256), np.float32), "F32")
    quantizer = RowQuantizer(1)
    with pytest.raises(rows.Stopped):
        list(quantizer.slabs([TensorJob(tensor, "Q8_0")], stop=lambda: True))
    quantizer.close()
