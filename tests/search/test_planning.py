"""Spaces of a tiny model: what pins and bounds leave, and what is refused before any evaluation."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optimizer.commands.plan import planned
from optimizer.commands.search import introduction
from optimizer.errors import ConfigError, ImatrixError, InputError
from optimizer.gguf.tensor_types import tensor_type
from optimizer.search.baselines import rival_presets
from optimizer.search.planning import Plan
from tests.models import tiny_model
from tests.quantization.test_imatrix import write_imatrix
from tests.search.searches import prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, made once."""
    folder = tmp_path_factory.mktemp("model")
    prepare(folder)
    return folder


def types_of(plan: Plan, part: str) -> set[str]:
    options = [option for unit in plan.space.units for option in unit.options if option.allowed]
    return {kind for option in options for tensor, kind in option.tensor_types.items() if part in tensor}


@pytest.mark.parametrize("units", ["layers", "groups", "tensors"])
def test_bounds_narrow_every_unit_with_a_matching_tensor(folder: Path, units: str) -> None:
    bounds = {"attn_v": ">=Q5_K", r"^blk\.0\.": "Q4_K..Q8_0", "ffn_down": "<=Q6_K"}
    free, plan = prepare(folder, units=units), prepare(folder, units=units, bounds=bounds)
    bits = {name: tensor_type(name).bits_per_weight for name in ("Q4_K", "Q5_K", "Q6_K")}
    assert types_of(free, "attn_v") > types_of(plan, "attn_v")
    assert all(tensor_type(t).bits_per_weight >= bits["Q5_K"] for t in types_of(plan, "attn_v"))
    assert all(tensor_type(t).bits_per_weight >= bits["Q4_K"] for t in types_of(plan, "blk.0."))
    assert all(tensor_type(t).bits_per_weight <= bits["Q6_K"] for t in types_of(plan, "ffn_down"))
    assert types_of(plan, "token_embd") == types_of(free, "token_embd")
    assert plan.space.smallest_bytes > free.space.smallest_bytes


def test_rivals_outside_the_bounds_are_compared_and_never_win(folder: Path) -> None:
    plan = prepare(folder, bounds={"attn_v": ">=Q8_0"})
    assert "Q3_K_S" in plan.rivals_only
    assert "uniform" not in plan.rivals_only


def test_pinned_tensors_are_units_of_one_option(folder: Path) -> None:
    plan = prepare(folder, pins={"^token_embd": "Q6_K"}, bounds={"^token_embd": ">=Q5_K"})
    unit = next(unit for unit in plan.space.units if unit.name == "token_embd")
    assert [option.name for option in unit.options if option.allowed] == ["Q6_K"]


def test_a_tied_model_has_its_embeddings_as_one_unit(tmp_path: Path) -> None:
    for text in ("search", "report"):
        (tmp_path / f"{text}.txt").write_text(text)
    tiny_model(tmp_path, n_layer=4, tied=True)
    names = [unit.name for unit in prepare(tmp_path, units="layers").space.units]
    assert names == ["token_embd", "blk.0", "blk.1", "blk.2", "blk.3"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pins": {"attn_v": "Q6_K", r"blk\.0\.": "Q4_K"}}, "is pinned twice: to Q6_K by 'attn_v' and to Q4_K by"),
        ({"pins": {"attn_v": "Q4_K"}, "bounds": {"attn_v": ">=Q5_K"}}, "is pinned to Q4_K, outside bound 'attn_v'"),
        ({"bounds": {"ffn_down": ">=F16"}}, r"leaves blk\.0\.ffn_down no option.*Q2_K, Q3_K"),
        ({"bounds": {"attn_q": "<=Q3_K", "attn_k": ">=Q6_K"}}, r"leaves blk\.0\.attn_qk no option"),
        ({"bounds": {"attn_v": ">=Q9"}}, "no tensor type"),
        ({"bounds": {"attn_w": ">=Q4_K"}}, "matches no quantizable tensor"),
        ({"bounds": {".": "Q4_K..Q4_K"}}, "within the bounds one option"),
        ({"types": "Q4_K"}, "nothing to choose between"),
        ({"types": "Q4_K,Q4_K"}, "nothing to choose between"),
        ({"units": "layers", "types": "Q4_K_M"}, "nothing to choose between"),
        ({"pins": {".": "Q4_K"}}, "leave nothing to search"),
        (
            {"pins": {"ffn": "Q8_0", "^token_embd": "Q6_K"}, "budget": "3.2bpw"},
            r"alone take [\d,]+ \(12 by 'ffn' as Q8_0, 1\.671 MB .*; 1 by '\^token_embd' as Q6_K, .*, [\d,]+ too many",
        ),
    ],
)
def test_refused_before_any_evaluation(folder: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepare(folder, **changes)


def test_unknown_types_and_types_without_their_imatrix(folder: Path) -> None:
    for units, wanted in (("groups", "Q4_K,Q9_K"), ("layers", "Q4_K_M,Q9_K_M")):
        with pytest.raises(InputError, match="Q9_K"):
            prepare(folder, units=units, types=wanted)
    for changes in ({"types": "IQ2_XS,Q4_K"}, {"pins": {"attn_v": "IQ2_XS"}}):
        with pytest.raises(ImatrixError, match="IQ2_XS needs an importance matrix"):
            prepare(folder, **changes)


def test_presets_that_the_imatrix_does_not_cover_are_no_rivals(folder: Path) -> None:
    """llama-quantize refuses them: neither a baseline nor a rung of the report's ladder, a search would end on it."""
    model = prepare(folder).model
    covered = {each.name: each for each in model.tensors if len(each.shape) > 1}
    missing = next(name for name in covered if "blk.1.attn_k" in name)

    def rivals(names: Iterable[str]) -> tuple[set[str], set[str]]:
        vectors = {name: (np.ones(covered[name].row_length, np.float32), np.array([1])) for name in names}
        plan = prepare(folder, imatrix=str(write_imatrix(folder / "matrix.gguf", vectors)), budget="Q8_0")
        return {each.name for each in plan.baselines[plan.budgets[0]]}, set(rival_presets(plan.presets, plan.imatrix))

    for whole, part in zip(rivals(covered), rivals(covered.keys() - {missing}), strict=True):
        assert {"IQ2_XS", "IQ3_XXS"} <= whole
        assert not {"IQ2_XS", "IQ3_XXS"} & part
        assert {"IQ4_XS", "Q4_K_M"} <= part


def test_a_plan_says_what_a_partial_imatrix_rules_out(folder: Path) -> None:
    model = prepare(folder).model
    covered = {each.name: each for each in model.tensors if len(each.shape) > 1}
    left_out = {name for name in covered if "attn_k" in name}

    def notes(names: Iterable[str]) -> list[str]:
        vectors = {name: (np.ones(covered[name].row_length, np.float32), np.array([1])) for name in names}
        matrix = write_imatrix(folder / "matrix.gguf", vectors)
        return [each for each in planned(str(model.paths[0]), imatrix=str(matrix)).notes if "no data" in each]

    assert notes(covered) == []
    (note,) = notes(covered.keys() - left_out)
    assert note.startswith("matrix.gguf has no data for 4 weights (blk.0.attn_k.weight, …), so there IQ2_XXS, ")
    assert note.endswith(" are not offered")
    assert "1 weight (blk.0.attn_k.weight)" in notes(covered.keys() - {"blk.0.attn_k.weight"})[0]


def test_pins_in_a_budget_that_holds_them(folder: Path) -> None:
    plan = prepare(folder, pins={"attn_v": "Q8_0"}, budget="4.5bpw")
    smallest = np.where(plan.space.allowed, plan.space.sizes, np.iinfo(np.int64).max).argmin(axis=1)
    recipe = plan.space.recipe(smallest)
    assert all(kind == "Q8_0" for name, kind in recipe.tensor_types.items() if "attn_v" in name)
    assert plan.space.file_bytes(smallest) == plan.space.smallest_bytes <= plan.budgets[0].n_bytes


@pytest.mark.parametrize(("trials", "noted"), [(2, True), (200, False)])
def test_a_search_of_baselines_alone_says_so(tmp_path: Path, trials: int, noted: bool) -> None:
    lines = introduction(prepare(tmp_path, trials=trials), "night")
    assert any("used up by" in line for line in lines) == noted
