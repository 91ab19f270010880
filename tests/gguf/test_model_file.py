import shutil
from pathlib import Path

import pytest

from optimizer.errors import GgufError
from optimizer.gguf import ModelFile, ValueType, block_number, encode_pair, string_pair, uint32_pair
from optimizer.gguf.write import NewTensor, write_gguf
from tests.models import header_only, tiny_model


def test_tensors_stand_in_the_order_of_llama_cpp(tmp_path: Path) -> None:
    model = ModelFile.open(tiny_model(tmp_path, "qwen3", n_layer=12))
    names = [tensor.name for tensor in model.tensors]
    assert names[:3] == ["output.weight", "output_norm.weight", "token_embd.weight"]
    assert [block_number(name) for name in names] == sorted(block_number(name) for name in names)
    assert names[3:6] == ["blk.0.attn_k.weight", "blk.0.attn_k_norm.weight", "blk.0.attn_norm.weight"]
    assert (model.architecture, model.n_layer, model.name) == ("qwen3", 12, "tiny")


def test_what_a_model_says_of_itself(tmp_path: Path) -> None:
    dense = ModelFile.open(tiny_model(tmp_path / "a", "qwen3"))
    assert (dense.tied_embeddings, dense.n_expert, dense.quantized_source, dense.has_tokenizer) == (
        False,
        0,
        False,
        True,
    )
    moe = ModelFile.open(tiny_model(tmp_path / "b", "qwen3moe", tokenizer=False))
    assert (moe.n_expert, moe.has_tokenizer) == (4, False)
    experts = moe.by_name["blk.0.ffn_up_exps.weight"]
    assert (experts.n_matrices, experts.n_rows, experts.row_length) == (4, 2048, 256)
    tied = ModelFile.open(tiny_model(tmp_path / "c", "llama", tied=True))
    assert tied.tied_embeddings
    assert ModelFile.open(tiny_model(tmp_path / "d", "llama", tensor_type="Q8_0")).quantized_source
    assert not ModelFile.open(tiny_model(tmp_path / "e", "llama", tensor_type="MXFP4")).quantized_source
    extra = [string_pair("tokenizer.ggml.model", "no_vocab"), uint32_pair("qwen3.nextn_predict_layers", 1)]
    no_vocab = ModelFile.open(tiny_model(tmp_path / "f", "qwen3", tokenizer=False, extra=extra))
    assert (no_vocab.has_tokenizer, no_vocab.n_layer, no_vocab.n_nextn_layer) == (False, 4, 1)


@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_split_model_opens_by_any_of_its_parts(tmp_path: Path, part: int) -> None:
    whole = ModelFile.open(tiny_model(tmp_path / "whole", "llama"))
    tiny_model(tmp_path / "split", "llama", splits=3)
    model = ModelFile.open(tmp_path / "split" / f"tiny-0000{part}-of-00003.gguf")
    assert [path.name[:10] for path in model.paths] == ["tiny-00001", "tiny-00002", "tiny-00003"]
    assert [(t.name, t.shape) for t in model.tensors] == [(t.name, t.shape) for t in whole.tensors]
    assert {t.path for t in model.tensors} == set(model.paths)
    assert model.size_bytes == sum(path.stat().st_size for path in model.paths)
    assert [pair.key for pair in model.output_pairs] == [pair.key for pair in whole.output_pairs]


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    first = tiny_model(tmp_path, "llama", splits=3)
    (tmp_path / "tiny-00002-of-00003.gguf").unlink()
    with pytest.raises(GgufError, match=r"missing split: tiny-00002-of-00003\.gguf, of 3 parts"):
        ModelFile.open(first)


def test_splits_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    first = tiny_model(tmp_path, "llama", splits=2)
    second = tmp_path / "tiny-00002-of-00002.gguf"
    shutil.copy(first, tmp_path / "renamed.gguf")
    with pytest.raises(GgufError, match="not named like one"):
        ModelFile.open(tmp_path / "renamed.gguf")
    shutil.copy(second, first)
    with pytest.raises(GgufError, match=r"split\.no says 1"):
        ModelFile.open(second)
    tiny_model(tmp_path, "llama", splits=2)
    other = tiny_model(tmp_path / "other", "llama", n_layer=5, splits=2)
    shutil.copy(other.with_name(second.name), second)
    with pytest.raises(GgufError, match=r"tensors, its parts hold|in two parts"):
        ModelFile.open(second)


def test_truncated_files_say_how_much_is_missing(tmp_path: Path) -> None:
    path = tiny_model(tmp_path, "llama")
    content = path.read_bytes()
    path.write_bytes(content[:-1000])
    promised = len(content)
    with pytest.raises(GgufError, match=f"truncated: its header promises {promised} bytes.* 1000 are missing"):
        ModelFile.open(path)
    with pytest.raises(GgufError, match="truncated: "):
        ModelFile.open(path, planning=True)


def test_a_header_alone_is_for_planning_only(tmp_path: Path) -> None:
    path = header_only(tmp_path, "qwen2.5-14b", n_vocab=1000)
    with pytest.raises(GgufError, match="enough for `layerquant plan`"):
        ModelFile.open(path)
    model = ModelFile.open(path, planning=True)
    assert model.is_header_only
    assert len(model.fingerprint) == 64


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "without general.architecture"),
        ([string_pair("general.architecture", "llama"), string_pair("general.type", "imatrix")], "type 'imatrix'"),
        ([string_pair("general.architecture", "llama")], "block_count is None"),
        ([string_pair("general.architecture", "llama"), uint32_pair("llama.block_count", 0)], "block_count is 0"),
        (
            [string_pair("general.architecture", "llama"), uint32_pair("llama.block_count", 1 << 31)],
            "block_count is 2147",
        ),
        ([uint32_pair("general.architecture", 7)], "without general.architecture"),
    ],
)
def test_what_is_no_language_model_is_refused(tmp_path: Path, pairs: list, message: str) -> None:
    path = tmp_path / "other.gguf"
    write_gguf(path, pairs, [], [])
    with pytest.raises(GgufError, match=message):
        ModelFile.open(path)


def test_the_fingerprint_follows_the_weights_and_not_the_path(tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "a", "llama", seed=1)
    copy = tmp_path / "copy.gguf"
    shutil.copy(path, copy)
    other = tiny_model(tmp_path / "b", "llama", seed=2)
    fingerprint = ModelFile.open(path).fingerprint
    assert ModelFile.open(copy).fingerprint == fingerprint
    assert ModelFile.open(other).fingerprint != fingerprint
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    assert ModelFile.open(copy).fingerprint != fingerprint


def test_output_pairs_end_strings_at_zero_and_drop_what_llama_quantize_drops(tmp_path: Path) -> None:
    extra = [
        encode_pair("x.words", ValueType.STRING, ["a\0b", "", "c"]),
        encode_pair("x.flag", ValueType.BOOL, True),
        uint32_pair("general.alignment", 64),
    ]
    model = ModelFile.open(tiny_model(tmp_path, "llama", extra=extra[:2]))
    pairs = {pair.key: pair.decode() for pair in model.output_pairs}
    assert pairs["x.words"] == ("a", "", "c")
    assert list(pairs)[-2:] == ["general.quantization_version", "general.file_type"]
    raw = bytearray(extra[1].raw)
    raw[-1] = 7
    path = tmp_path / "odd.gguf"
    architecture = [string_pair("general.architecture", "llama"), uint32_pair("llama.block_count", 1)]
    odd = encode_pair("x.flag", ValueType.BOOL, True)
    object.__setattr__(odd, "raw", bytes(raw))
    write_gguf(path, [*architecture, odd, extra[2]], [], [])
    written = {pair.key: pair for pair in ModelFile.open(path).output_pairs}
    assert written["x.flag"].raw == extra[1].raw
    assert "general.alignment" not in written


def test_a_source_aligned_to_64_is_read(tmp_path: Path) -> None:
    path = tmp_path / "wide.gguf"
    architecture = [string_pair("general.architecture", "llama"), uint32_pair("llama.block_count", 1)]
    pairs = [*architecture, uint32_pair("general.alignment", 64)]
    write_gguf(path, pairs, [NewTensor("a", (16,), "F32")], [[bytes(64)]])
    path.write_bytes(path.read_bytes() + bytes(64))  # the writer pads to 32; the data lies within either way
    assert ModelFile.open(path).tensors[0].offset % 64 == 0
