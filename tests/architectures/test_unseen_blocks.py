"""Next-token (NextN) blocks: no evaluation runs them, so no search may shrink them for nothing."""

from pathlib import Path

import pytest

from evaluators.in_process import InProcessEvaluator
from evaluators.settings import RuntimeSettings
from optimizer.config import SearchConfig
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.quantization import quantize
from optimizer.recipes.presets import load_presets
from optimizer.recipes.sizes import SizeTable
from optimizer.search.planning import Plan, make_plan
from optimizer.search.unseen import unseen_layers
from tests.architectures.conftest import SETTINGS, drive
from tests.architectures.kinds import KINDS

NEXTN_LAYER = 2


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return KINDS["glm4moe"].write(tmp_path_factory.mktemp("glm4moe"))


def plan_at(source: Path, budget: str, **changes: object) -> Plan:
    return make_plan(SearchConfig.load(None, {**SETTINGS, "model": str(source), "budget": budget, **changes}))


def types_of_the_block(plan: Plan) -> set[str]:
    units = [unit for unit in plan.space.units if unit.name.startswith(f"blk.{NEXTN_LAYER}")]
    assert units
    assert not any(unit.seen for unit in units)
    options = [[option for option in unit.options if option.allowed] for unit in units]
    assert all(len(each) == 1 for each in options)
    return {given for (option,) in options for given in option.tensor_types.values()}


def test_evaluations_do_not_run_the_block(source: Path, texts: tuple[Path, Path], tmp_path: Path) -> None:
    model = ModelFile.open(source)
    assert unseen_layers(model) == {NEXTN_LAYER}
    presets = load_presets(model)
    recipe = presets["Q4_K_M"].recipe
    smaller = recipe.replace(dict.fromkeys([n for n in presets.quantizable if n.startswith("blk.2.")], "Q2_K"))
    evaluator = InProcessEvaluator(RuntimeSettings(ctx_size=32, batch_size=256, threads=1))
    reference = tmp_path / "reference"
    evaluator.build_reference([source], texts[0], reference, chunks=8, identity="glm4moe")
    klds = []
    for name, each in {"whole": recipe, "smaller": smaller}.items():
        path = quantize(model, each, presets.quantizable, tmp_path / f"{name}.gguf", threads=1)
        klds.append(evaluator.score([path], reference, range(8)).mean_kld)
    evaluator.close()
    assert klds[0] == klds[1] > 0


@pytest.mark.parametrize(
    ("budget", "expected"),
    [("Q2_K", "Q2_K"), ("Q3_K_S", "Q3_K"), ("Q4_K_S", "Q4_K"), ("Q6_K", "Q6_K"), ("Q8_0", "Q8_0")],
)
def test_the_block_keeps_the_bits_of_the_budget(source: Path, budget: str, expected: str) -> None:
    assert types_of_the_block(plan_at(source, budget)) == {expected}


def test_by_layers_and_by_tensors_as_well(source: Path) -> None:
    for units in ("layers", "tensors"):
        found = types_of_the_block(plan_at(source, "Q5_K_M", units=units))
        assert {type_of(name).bits_per_weight for name in found} <= {5.5, 6.5625}


def test_pins_decide_otherwise(source: Path) -> None:
    assert types_of_the_block(plan_at(source, "Q6_K", pins={r"^blk\.2\.": "Q8_0"})) == {"Q8_0"}


def test_the_feasible_range_is_what_the_types_allow(source: Path) -> None:
    """A budget that only the block's own smallest type can meet is met."""
    plan = plan_at(source, "Q4_K_M")
    model, presets = plan.model, plan.presets
    smallest = SizeTable(model, presets.quantizable).file_size(
        presets["Q2_K"].recipe.replace(dict.fromkeys(presets.quantizable, "Q2_K"))
    )
    assert types_of_the_block(plan_at(source, str(smallest + 20_000))) == {"Q2_K"}


def test_stock_presets_can_win_though_they_type_the_block_otherwise(source: Path) -> None:
    plan = plan_at(source, "Q3_K_M", **{"baselines.presets": True})
    (rivals,) = plan.baselines.values()
    assert {"Q3_K_M", "Q3_K_S", "Q2_K"} <= {baseline.name for baseline in rivals}
    assert not {"Q3_K_M", "Q3_K_S", "Q2_K"} & plan.rivals_only


@pytest.mark.long
def test_the_default_search_copes(studies: Path, texts: tuple[Path, Path]) -> None:
    """With probes, by layers; presets as baselines give the block options that no proposal may use."""
    kind = KINDS["glm4moe"].retyped("glm4moe-presets", {})
    changes = {"sampler": "layerquant", "units": "layers", "trials": 12, "budget": "Q3_K_M"}
    road = drive(kind, studies, texts, baselines__presets=True, **changes)
    assert road.outcome.finished
    presets = [trial for trial in road.trials if trial.origin.startswith("preset:")]
    proposed = [trial for trial in road.trials if ":" not in trial.origin]
    assert presets
    assert proposed
    (block,) = (unit for unit in road.plan.space.units if unit.name == "blk.2")
    (own,) = (option for option in block.options if option.allowed)
    assert len(block.options) > 1
    assert {trial.params["blk.2"] for trial in proposed} == {own.name}
