from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.errors import StorageError
from optimizer.gguf import ModelFile, NewTensor, ValueType, encode_pair, read_header, write_gguf
from optimizer.gguf.write import file_bytes
from optimizer.recipes.dry_run import FTYPES
from tests.gguf.oracle import llama_quantize
from tests.models import tiny_model

ODD_PAIRS = [
    encode_pair("x.words", ValueType.STRING, ["cut\0here", "", "é"]),
    encode_pair("x.cut", ValueType.STRING, "cut\0here"),
    encode_pair("x.flags", ValueType.BOOL, [True, False]),
    encode_pair("x.doubles", ValueType.FLOAT64, [0.5, -1.0]),
    encode_pair("x.empty", ValueType.INT32, []),
]


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("qwen3", {"extra": ODD_PAIRS}),
        ("qwen3", {"splits": 3, "n_layer": 2}),
        ("llama", {"tied": True, "tensor_type": "BF16", "ffn": 288}),
        ("qwen3moe", {"n_layer": 1}),
    ],
)
def test_a_rebuilt_file_is_llama_quantizes_byte_for_byte(
    tmp_path: Path, architecture: str, options: dict[str, object]
) -> None:
    source, theirs, ours = (
        tiny_model(tmp_path, architecture, **options),
        tmp_path / "theirs.gguf",
        tmp_path / "ours.gguf",
    )
    assert llama_quantize(source, theirs, "Q4_K_M")
    written = ModelFile.open(theirs)
    pairs = ModelFile.open(source).with_file_type(FTYPES["Q4_K_M"])
    tensors = [NewTensor(tensor.name, tensor.shape, tensor.tensor_type) for tensor in written.tensors]

    def data() -> Iterator[list[bytes]]:
        content = theirs.read_bytes()
        for tensor in written.tensors:
            middle = tensor.offset + tensor.n_bytes // 2
            yield [content[tensor.offset : middle], content[middle : tensor.offset + tensor.n_bytes]]

    write_gguf(ours, pairs, tensors, data())
    assert ours.read_bytes() == theirs.read_bytes()
    assert file_bytes(pairs, tensors) == theirs.stat().st_size


def test_data_of_the_wrong_length_leaves_nothing_behind(tmp_path: Path) -> None:
    tensor = NewTensor("a", (256,), "Q4_K")
    with pytest.raises(StorageError, match="tensor a got 100 bytes"):
        write_gguf(tmp_path / "bad.gguf", [], [tensor], [[bytes(100)]])
    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, [], [NewTensor("a", (8,), "F32")], [[bytes(32)]])
    before = path.read_bytes()

    def failing() -> Iterator[bytes]:
        yield bytes(16)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gguf(path, [], [NewTensor("a", (8,), "F32")], [failing()])
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.gguf"]


def test_a_full_disk_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_gguf(tmp_path / "no such folder" / "model.gguf", [], [], [])


def test_a_file_without_tensors_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "empty.gguf"
    write_gguf(path, ODD_PAIRS, [], [])
    assert read_header(path).metadata.pairs == tuple(ODD_PAIRS)
