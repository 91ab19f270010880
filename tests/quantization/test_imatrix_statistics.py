"""Statistics and coverage against what llama-imatrix --show-statistics printed for the same files."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from optimizer.errors import ImatrixError
from optimizer.gguf.header import TensorInfo
from optimizer.gguf.metadata import ValueType, encode_pair, string_pair, uint32_pair
from optimizer.gguf.write import NewTensor, write_gguf
from optimizer.quantization.imatrix_coverage import coverage
from optimizer.quantization.imatrix_figure import figure
from optimizer.quantization.imatrix_file import ImatrixFile
from optimizer.quantization.imatrix_statistics import LayerStatistics, WeightStatistics, statistics_of

FIXTURES = Path(__file__).parents[1] / "evaluators/fixtures/imatrix"


def as_printed(each: WeightStatistics | LayerStatistics) -> str:
    """A row with llama-imatrix's digits, its spaces made one."""
    if isinstance(each, LayerStatistics):
        row = f"{each.layer} {each.total:.2f} {100 * each.zd:.4f}% {each.cosine:.4f}"
    else:
        row = (
            f"{'-' if each.layer is None else each.layer} {each.role} {each.total:.2f} {each.minimum:.4f} "
            f"{each.maximum:.4f} {each.mean:.2f} {each.sigma:.2f} {100 * each.active:.2f}% {each.columns} "
            f"{each.entropy:.4f} {100 * each.entropy_normalised:.2f}% {100 * each.zd:.2f}% {each.cosine:.4f}"
        )
    return row


@pytest.mark.parametrize("name", ["demo.gguf", "experts.gguf", "experts.dat"])
def test_every_printed_figure_is_the_same(name: str) -> None:
    printed = (FIXTURES / f"{name}.statistics.txt").read_text(encoding="utf-8").splitlines()
    rows = [" ".join(line.split()) for line in printed if re.match(r" +(\d+|-)\t", line)]
    found = statistics_of(ImatrixFile.open(FIXTURES / name))
    assert [as_printed(each) for each in (*found.weights, *found.layers)] == rows
    assert len(found.weights) == int(re.findall(r"\((\d+) tensors\)", "\n".join(printed))[0])


def write_file(path: Path, entries: dict[str, tuple[np.ndarray, list[float]]]) -> Path:
    pairs = [
        string_pair("general.type", "imatrix"),
        encode_pair("imatrix.datasets", ValueType.STRING, ["text"]),
        uint32_pair("imatrix.chunk_count", 1),
        uint32_pair("imatrix.chunk_size", 512),
    ]
    tensors, data = [], []
    for name, (sums, counts) in entries.items():
        tensors.append(NewTensor(f"{name}.in_sum2", (sums.size // len(counts), len(counts)), "F32"))
        tensors.append(NewTensor(f"{name}.counts", (1, len(counts)), "F32"))
        data += [[sums.astype(np.float32).tobytes()], [np.array(counts, np.float32).tobytes()]]
    write_gguf(path, pairs, tensors, data)
    return path


def test_experts_without_data(tmp_path: Path) -> None:
    sums = np.concatenate([np.full(32, 8.0), np.zeros(32), np.full(32, 2.0)])
    entries = {"blk.0.ffn_up_exps.weight": (sums, [4, 0, 2]), "blk.0.ffn_down_exps.weight": (np.zeros(64), [0, 0])}
    file = ImatrixFile.open(write_file(tmp_path / "some.gguf", entries))
    found = statistics_of(file)
    assert [each.name for each in found.weights] == ["blk.0.ffn_up_exps.weight"]
    assert (found.weights[0].columns, found.weights[0].total) == (64, 32 * 2.0 + 32 * 1.0)
    assert found.empty == ("blk.0.ffn_down_exps.weight",)
    idle = {each.name: (each.total, each.without_data) for each in coverage(file, (), ()).experts}
    assert idle == {"blk.0.ffn_up_exps.weight": (3, (1,)), "blk.0.ffn_down_exps.weight": (2, (0, 1))}


def test_what_is_not_covered_and_what_that_forbids(tmp_path: Path) -> None:
    entries = {"blk.0.attn_q.weight": (np.ones(8), [1.0]), "x": (np.ones(8), [1.0])}
    file = ImatrixFile.open(write_file(tmp_path / "some.gguf", entries))
    names = ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_k.weight"]
    tensors = [TensorInfo(name, (8, 8), "F16", tmp_path, 0, 128) for name in names]
    found = coverage(file, tensors, names)
    assert found.covered == 1
    assert found.unknown == ("x",)
    assert set(found.missing) == {"token_embd.weight", "blk.0.attn_k.weight"}
    assert "IQ2_S" in found.missing["blk.0.attn_k.weight"]
    assert "IQ4_XS" not in found.missing["blk.0.attn_k.weight"]
    assert set(found.missing["token_embd.weight"]) == {"IQ1_S", "IQ2_XXS", "IQ2_XS"}  # where ggml itself refuses


def test_the_picture_has_a_cell_for_every_weight_of_a_layer() -> None:
    found = statistics_of(ImatrixFile.open(FIXTURES / "experts.gguf"))
    picture = ElementTree.fromstring(figure(found, "experts & <layers>"))
    cells = [each for each in picture.iter() if each.tag.endswith("rect")]
    inside = [each for each in found.weights if each.layer is not None]
    assert len(cells) == 3 * len(inside) + sum(each.layer != 0 for each in inside)


def test_a_name_without_its_counts(tmp_path: Path) -> None:
    path = write_file(tmp_path / "some.gguf", {"blk.0.attn_q.weight": (np.ones(8), [1])})
    path.write_bytes(path.read_bytes().replace(b".counts", b".cuonts"))
    with pytest.raises(ImatrixError, match="lacks its sums or its counts"):
        ImatrixFile.open(path)
