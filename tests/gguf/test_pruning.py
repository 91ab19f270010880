"""Which layers can go, and what the metadata says of those that stay."""

from pathlib import Path

import pytest

from optimizer.errors import RecipeError
from optimizer.gguf import ModelFile, encode_pair, uint32_pair
from optimizer.gguf.metadata import KeyValue, ValueType
from optimizer.gguf.pruning import check_pruned_layers, renumbered, without_layers
from tests.models import header_only, tiny_model


def model(folder: Path, architecture: str = "qwen3", n_layer: int = 12, *extra: KeyValue) -> ModelFile:
    return ModelFile.open(tiny_model(folder, architecture, n_layer=n_layer, n_embd=32, ffn=32, n_head=2, extra=extra))


def test_layers_are_renumbered() -> None:
    names = ["token_embd.weight", "blk.2.attn_v.weight", "blk.4.attn_v.weight", "blk.11.blk.weight"]
    assert [renumbered(name, (3, 10)) for name in names] == [*names[:2], "blk.3.attn_v.weight", "blk.9.blk.weight"]


def test_the_view_points_at_the_sources_data(tmp_path: Path) -> None:
    whole = model(tmp_path)
    pruned = without_layers(whole, [10, 3])
    assert pruned.pruned_layers == (3, 10)
    assert pruned.n_layer == pruned.metadata["qwen3.block_count"] == 10
    assert pruned.by_name["blk.3.attn_v.weight"].offset == whole.by_name["blk.4.attn_v.weight"].offset
    assert pruned.by_name["blk.9.attn_v.weight"].offset == whole.by_name["blk.11.attn_v.weight"].offset
    assert "blk.10.attn_v.weight" not in pruned.by_name
    assert len({whole.fingerprint, pruned.fingerprint, without_layers(whole, [3, 9]).fingerprint}) == 3
    assert without_layers(whole, []) is whole


def test_arrays_of_one_value_a_layer_lose_theirs(tmp_path: Path) -> None:
    def array(key: str, values: list[int]) -> KeyValue:
        return encode_pair(f"qwen3.{key}", ValueType.UINT32, values)

    own = model(
        tmp_path, "qwen3", 4, array("head_widths", [1, 2, 3, 4]), array("rope.dimension_sections", [9, 8, 7, 6]),
        array("other", [1, 2, 3]), uint32_pair("qwen3.leading_dense_block_count", 2),
    )  # fmt: skip
    found = without_layers(own, [1]).metadata
    assert found["qwen3.head_widths"] == (1, 3, 4)
    assert found["qwen3.rope.dimension_sections"] == (9, 8, 7, 6)
    assert found["qwen3.other"] == (1, 2, 3)
    assert found["qwen3.leading_dense_block_count"] == 1
    assert without_layers(own, [2]).metadata["qwen3.leading_dense_block_count"] == 2


def test_a_sliding_window_pattern_is_written_out(tmp_path: Path) -> None:
    """Gemma 3 attends to everything at layers 5 and 11; without layer 2 these are layers 4 and 10."""
    found = without_layers(model(tmp_path, "gemma3"), [2]).metadata["gemma3.attention.sliding_window_pattern"]
    assert isinstance(found, tuple)
    assert [layer for layer, is_local in enumerate(found) if not is_local] == [4, 10]
    own = model(tmp_path / "own", "gemma3", 8, uint32_pair("gemma3.attention.sliding_window_pattern", 4))
    assert without_layers(own, [1]).metadata["gemma3.attention.sliding_window_pattern"] == (
        True, True, False, True, True, True, False,
    )  # fmt: skip


def test_recurrent_layers_are_written_out(tmp_path: Path) -> None:
    own = model(tmp_path, "qwen35", 8, uint32_pair("qwen35.nextn_predict_layers", 1))
    assert without_layers(own, [1]).metadata["qwen35.attention.recurrent_layers"] == (
        True, True, False, True, True, True, False,
    )  # fmt: skip


@pytest.mark.parametrize(("layers", "reason"), [([0], "layer 0 cannot"), ([12], "layers 0 to 11"), ([-1], "layer -1")])
def test_layers_that_cannot_go(tmp_path: Path, layers: list[int], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        check_pruned_layers(model(tmp_path), layers)


def test_next_token_layers_stay(tmp_path: Path) -> None:
    own = model(tmp_path, "qwen3", 4, uint32_pair("qwen3.nextn_predict_layers", 1))
    with pytest.raises(RecipeError, match="several tokens ahead"):
        check_pruned_layers(own, [3])
    assert check_pruned_layers(own, [2, 2, 1]) == (1, 2)


@pytest.mark.parametrize(
    ("architecture", "n_layer", "extra", "reason"),
    [
        ("llama4", 12, (), "follows from its number"),
        ("gemma2", 46, (), "number of layers"),
        ("exaone4", 65, (), "number of layers"),
        ("ernie4_5-moe", 4, (uint32_pair("ernie4_5-moe.interleave_moe_layer_step", 2),), "interleave_moe"),
    ],
)
def test_architectures_that_cannot_be_pruned(
    tmp_path: Path, architecture: str, n_layer: int, extra: tuple[KeyValue, ...], reason: str
) -> None:
    with pytest.raises(RecipeError, match=reason):
        check_pruned_layers(model(tmp_path, architecture, n_layer, *extra), [1])


def test_a_header_is_enough(tmp_path: Path) -> None:
    whole = ModelFile.open(header_only(tmp_path, "qwen3-30b-a3b", n_vocab=2000), planning=True)
    assert without_layers(whole, [20, 30]).n_layer == 46
