from pathlib import Path

from optimizer.gguf import ModelFile
from optimizer.gguf.sparse import planning_header, write_sparse, write_sparse_copy
from tests.models import header_only, tiny_model


def test_a_stand_in_has_the_length_and_tensors_of_its_model_and_takes_no_room(tmp_path: Path) -> None:
    model = ModelFile.open(header_only(tmp_path, "qwq-32b", n_vocab=1000), planning=True)
    write_sparse(model, tmp_path / "sparse.gguf")
    sparse = ModelFile.open(tmp_path / "sparse.gguf")
    assert [(t.name, t.shape, t.tensor_type) for t in sparse.tensors] == [
        (t.name, t.shape, t.tensor_type) for t in model.tensors
    ]
    assert sparse.size_bytes > 60e9
    assert (tmp_path / "sparse.gguf").stat().st_blocks * 512 < 1 << 20
    assert sparse.metadata.integer("qwen2.vocab_size") == 1000
    assert not sparse.has_tokenizer


def test_the_full_copy_keeps_the_vocabulary(tmp_path: Path) -> None:
    model = ModelFile.open(header_only(tmp_path, "qwen2.5-14b", n_vocab=1000), planning=True)
    write_sparse_copy(model, tmp_path / "copy.gguf")
    copy = ModelFile.open(tmp_path / "copy.gguf")
    assert copy.metadata["tokenizer.ggml.tokens"] == model.metadata["tokenizer.ggml.tokens"]
    assert not copy.is_header_only


def test_a_split_model_and_its_whole_have_the_same_planning_header(tmp_path: Path) -> None:
    whole = ModelFile.open(tiny_model(tmp_path / "whole", "qwen3"))
    split = ModelFile.open(tiny_model(tmp_path / "split", "qwen3", splits=3))
    assert planning_header(split) == planning_header(whole)
