from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import RecipeError
from optimizer.recipes import Flags, load_hybrids
from optimizer.recipes.hybrids import read_hybrid

HYBRIDS = load_hybrids()


def test_both_published_hybrids_are_there() -> None:
    assert sorted(HYBRIDS) == ["Deepseek-R1-Distill-Qwen-14B.Q4_K_H", "QwQ-32B.Q4_K_H"]
    hybrid = HYBRIDS["QwQ-32B.Q4_K_H"]
    assert (hybrid.n_layer, hybrid.architecture, hybrid.layer_types.flags) == (64, "qwen2", Flags("Q4_K", "Q6_K", True))
    assert [hybrid.layer_types.names()[layer] for layer in (0, 1, 2, 40, 63)] == [
        "Q4_K_M",
        "Q4_K_S",
        "Q3_K_L",
        "Q4_K_S",
        "Q6_K",
    ]
    assert hybrid.published["size_bytes"] == 17.9e9
    assert HYBRIDS["Deepseek-R1-Distill-Qwen-14B.Q4_K_H"].layer_types.names()[44] == "Q5_K_L"


@pytest.mark.parametrize("name", HYBRIDS)
@given(n_layer=st.integers(1, 200))
def test_a_stretched_profile_keeps_its_ends_and_its_order(name: str, n_layer: int) -> None:
    hybrid = HYBRIDS[name]
    stretched = hybrid.stretched(n_layer)
    names, own = [row[1] for row in stretched.rows], hybrid.layer_types.names()
    assert [row[0] for row in stretched.rows] == list(range(n_layer))
    assert names[0] == own[0]
    assert n_layer == 1 or names[-1] == own[hybrid.n_layer - 1]
    if n_layer >= hybrid.n_layer:
        runs = [name for position, name in enumerate(names) if position == 0 or names[position - 1] != name]
        original = [own[0], *(own[layer] for layer in range(1, hybrid.n_layer) if own[layer] != own[layer - 1])]
        assert runs == original
    assert stretched.flags == hybrid.layer_types.flags


def test_a_profile_at_its_own_depth_is_itself() -> None:
    for hybrid in HYBRIDS.values():
        assert hybrid.stretched(hybrid.n_layer) == hybrid.layer_types


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", "a hybrid has name, source"),
        ("- 1\n", "a hybrid has name, source"),
        ("a: [", "cannot be read"),
        (
            "{name: x, source: y, architecture: llama, n_layer: 3, flags: '', layer_types: '[[0,\"Q4_K_M\"]]'}",
            "its rows are not the layers 0 to 2",
        ),
    ],
)
def test_files_that_are_no_hybrid_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "hybrid.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        read_hybrid(path)
