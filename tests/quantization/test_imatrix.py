"""Importance matrices in both formats, and what is wrong with one that does not fit."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from optimizer.errors import ImatrixError
from optimizer.gguf.metadata import KeyValue, ValueType, encode_pair, string_pair, uint32_pair
from optimizer.gguf.write import NewTensor, write_gguf
from optimizer.quantization import Imatrix, importance_for, needs_importance
from tests.quantization.conftest import Subject, importance_vectors

Array = NDArray[np.float32]
METADATA = (
    string_pair("general.type", "imatrix"),
    encode_pair("imatrix.datasets", ValueType.STRING, ["texts.txt"]),
    uint32_pair("imatrix.chunk_count", 7),
    uint32_pair("imatrix.chunk_size", 512),
)


def write_imatrix(
    path: Path, entries: Mapping[str, tuple[Array, Array]], pairs: tuple[KeyValue, ...] = METADATA
) -> Path:
    """entries: name -> (sums [matrices, columns], counts [matrices])."""
    tensors, data = [], []
    for name, (sums, counts) in sorted(entries.items()):
        sums = np.atleast_2d(sums).astype(np.float32)
        tensors += [
            NewTensor(f"{name}.in_sum2", (sums.shape[1], sums.shape[0]), "F32"),
            NewTensor(f"{name}.counts", (1, counts.size), "F32"),
        ]
        data += [[sums.tobytes()], [counts.astype(np.float32).tobytes()]]
    write_gguf(path, pairs, tensors, data)
    return path


def write_legacy(path: Path, entries: Mapping[str, tuple[Array, int]], tail: bytes = b"") -> Path:
    """entries: name -> (values [columns], calls)."""
    parts = [struct.pack("<i", len(entries))]
    for name, (values, calls) in entries.items():
        parts.append(struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, values.size))
        parts.append(values.astype("<f4").tobytes())
    path.write_bytes(b"".join(parts) + tail)
    return path


def test_divides_sums_by_the_count_of_each_expert(tmp_path: Path) -> None:
    sums = np.array([[3, 6], [5, 7], [1, 1]], np.float32)
    path = write_imatrix(tmp_path / "imatrix.gguf", {"blk.0.ffn_up_exps.weight": (sums, np.array([3, 0, 7]))})
    imatrix = Imatrix.open(path)
    seventh = np.float32(1) / np.float32(7)
    values = imatrix.values("blk.0.ffn_up_exps.weight")
    assert values is not None
    assert values.dtype == np.float32
    assert values.tolist() == [1, 2, 1, 1, seventh, seventh]
    assert (imatrix.chunk_count, imatrix.datasets) == (7, ("texts.txt",))


def test_reads_the_older_format(tmp_path: Path) -> None:
    values = np.array([2, 4, 8], np.float32)
    tail = struct.pack("<ii", 5, 4) + b"text"
    imatrix = Imatrix.open(write_legacy(tmp_path / "i.dat", {"a.weight": (values, 2), "b.weight": (values, 0)}, tail))
    assert [imatrix.vectors[name].tolist() for name in ("a.weight", "b.weight")] == [[1, 2, 4], [2, 4, 8]]
    assert (imatrix.chunk_count, imatrix.datasets) == (5, ("text",))


def test_equal_values_have_equal_hashes_in_both_formats(tmp_path: Path) -> None:
    values = np.array([2, 4, 8], np.float32)
    new = Imatrix.open(write_imatrix(tmp_path / "i.gguf", {"a.weight": (values, np.array([2]))}))
    old = Imatrix.open(write_legacy(tmp_path / "i.dat", {"a.weight": (values, 2)}))
    other = Imatrix.open(write_legacy(tmp_path / "o.dat", {"a.weight": (values, 4)}))
    assert new.sha256 == old.sha256 != other.sha256
    assert new.vector_sha256("a.weight") == old.vector_sha256("a.weight")


@pytest.mark.parametrize(("bad", "found"), [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (-1, "negative")])
def test_refuses_values_that_are_no_mean_square(tmp_path: Path, bad: float, found: str) -> None:
    values = np.array([1, bad], np.float32)
    for path in (
        write_imatrix(tmp_path / "i.gguf", {"a.weight": (values, np.array([2]))}),
        write_legacy(tmp_path / "i.dat", {"a.weight": (values, 2)}),
    ):
        with pytest.raises(ImatrixError, match=rf"{found} values for a\.weight"):
            Imatrix.open(path)


def test_refuses_what_is_no_imatrix(tmp_path: Path, dense: Subject) -> None:
    one = np.ones(4, np.float32)
    whole = write_legacy(tmp_path / "whole.dat", {"a.weight": (one, 2)}).read_bytes()
    files = {
        "empty": b"",
        "text": b"An importance matrix it is not, only words.",
        "cut": whole[:-4],
        "GGUF": b"GGUF and then nothing",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ImatrixError, match="not an importance matrix"):
            Imatrix.open(path)
    with pytest.raises(ImatrixError, match="not an importance matrix"):
        Imatrix.open(dense.path)
    with pytest.raises(ImatrixError, match="cannot read"):
        Imatrix.open(tmp_path / "missing")


def test_refuses_an_incomplete_gguf(tmp_path: Path) -> None:
    one = np.ones(4, np.float32)
    path = write_imatrix(tmp_path / "i.gguf", {"a.weight": (one, np.array([2]))}, METADATA[:1])
    with pytest.raises(ImatrixError, match=r"imatrix\.chunk_count"):
        Imatrix.open(path)
    write_gguf(path, METADATA, [NewTensor("a.weight.in_sum2", (4, 1), "F32")], [[one.tobytes()]])
    with pytest.raises(ImatrixError, match="lacks its sums or its counts"):
        Imatrix.open(path)
    write_imatrix(path, {"a.weight": (np.ones(4096, np.float32), np.array([2]))})
    path.write_bytes(path.read_bytes()[:4096])
    with pytest.raises(ImatrixError, match="truncated"):
        Imatrix.open(path)


def test_knows_whether_it_is_this_models(dense: Subject, experts: Subject) -> None:
    vectors = importance_vectors(dense.model)
    imatrix = Imatrix(Path("i"), {name: vectors[name] for name in vectors if name != "blk.1.attn_q.weight"})
    assert imatrix.check_model(dense.model.tensors) == ("blk.1.attn_q.weight",)
    assert imatrix.covered("blk.0.attn_q.weight")
    assert not imatrix.covered("blk.1.attn_q.weight")
    with pytest.raises(ImatrixError, match="another architecture"):
        Imatrix(Path("i"), {"model.layers.0.mlp": np.ones(4, np.float32)}).check_model(dense.model.tensors)
    deeper = {**importance_vectors(dense.model), "blk.2.attn_q.weight": np.ones(256, np.float32)}
    with pytest.raises(ImatrixError, match="last layer is 1; it was made for a deeper model"):
        Imatrix(Path("i"), deeper).check_model(dense.model.tensors)
    short = Imatrix(
        Path("i"), importance_vectors(experts.model) | {"blk.0.ffn_up_exps.weight": np.ones(256, np.float32)}
    )
    with pytest.raises(ImatrixError, match=r"256 values for blk\.0\.ffn_up_exps\.weight, which needs 768"):
        short.check_model(experts.model.tensors)


def test_gives_what_llama_quantize_would_use(dense: Subject) -> None:
    tensors = dense.model.by_name
    short = {"token_embd.weight": np.ones(3, np.float32), "blk.0.attn_q.weight": np.ones(3, np.float32)}
    imatrix = Imatrix(Path("i"), short)
    assert importance_for(imatrix, tensors["token_embd.weight"], "Q4_K") is None  # llama-quantize ignores it here
    with pytest.raises(ImatrixError, match="needs 256"):
        importance_for(imatrix, tensors["blk.0.attn_q.weight"], "Q4_K")
    assert importance_for(imatrix, tensors["blk.0.attn_k.weight"], "Q4_K") is None
    with pytest.raises(ImatrixError, match=r"i does not cover it.*--imatrix"):
        importance_for(imatrix, tensors["blk.0.attn_k.weight"], "IQ3_XXS")
    with pytest.raises(ImatrixError, match="no importance matrix was given"):
        importance_for(None, tensors["blk.0.attn_k.weight"], "IQ3_XXS")


def test_embeddings_and_output_may_go_lower_without_importance() -> None:
    assert needs_importance("blk.0.attn_k.weight", "IQ2_S")
    assert not needs_importance("output.weight", "IQ2_S")
    assert needs_importance("output.weight", "IQ2_XS")  # here ggml itself would end the process
    assert not needs_importance("blk.0.attn_k.weight", "Q2_K")
