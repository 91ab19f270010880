"""Layers left out by a search: which, at what cost, and that a search without pruning knows nothing of it."""

from pathlib import Path
from typing import Any

import pytest

from evaluators.fake_damage import Damage, damage_of_tensors
from optimizer.commands.studies import status_object
from optimizer.errors import ConfigError, RecipeError
from optimizer.export.model_card import model_card
from optimizer.export.report_view import Report
from optimizer.gguf.header import read_header
from optimizer.recipes.recipe import PRUNED, Recipe
from optimizer.search.planning import Plan
from optimizer.search.prune_origin import is_pruned
from optimizer.search.prune_settings import candidate_layers
from optimizer.search.prune_trials import PRUNE_TRIALS
from tests.search.searches import Search, prepare

TRIALS = 12
COST = 2.0
"""Nats per token that a missing layer costs in the model of `short_models_cost`."""


def short_models_cost(cost: float) -> Damage:
    """Known damage by types, and a price for each layer of four that the metadata lacks."""
    by_types = damage_of_tensors()

    def damage(path: Path) -> float:
        count = read_header(path).metadata.integer("qwen3.block_count")
        return by_types(path) + (0.0 if count is None else cost * (4 - count))

    return damage


def search(folder: Path, *, cost: float = COST, **changes: Any) -> Search:
    return Search(folder, plan(folder, **changes), damage=short_models_cost(cost))


def plan(folder: Path, **changes: Any) -> Plan:
    few = {f"baselines__{kind}": False for kind in ("variants", "uniform", "hybrids")}
    return prepare(folder, **{"trials": TRIALS, "prune": 1, "units": "layers", "evaluation__chunks": 8} | few | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Search:
    found = search(tmp_path_factory.mktemp("prune"))
    assert found.run().finished
    return found


def test_pruned_candidates_are_trials_like_others(finished: Search) -> None:
    with finished.workplace.open_store() as store:
        study = store.find_study("study")
        assert study is not None
        trials = store.trials(study.id)
        pruned = [trial for trial in trials if is_pruned(trial)]
        assert [trial.origin for trial in pruned] in (["prune:1", "prune:2"], ["prune:2", "prune:1"])
        assert len(trials) == TRIALS
        budget = finished.plan.budgets[0].n_bytes
        for trial in pruned:
            recipe = Recipe(store.recipe(trial.recipe_id).tensor_types)
            assert trial.origin == f"prune:{recipe.pruned_layers[0]}"
            assert 0.97 * budget < trial.size_bytes <= budget
            assert finished.plan.sizes.file_size(recipe) == trial.size_bytes
            assert (trial.mean_kld or 0.0) > COST / 2
            assert set(trial.params) == {unit.name for unit in finished.plan.space.units}
            assert PRUNED in trial.params.values()
            assert f"--prune-layers {recipe.pruned_layers[0]}" in str(finished.plan.layer_types(recipe).flags)
            assert trial.predicted_kld is not None
            assert trial.predicted_kld > COST / 2
        assert len(pruned) <= PRUNE_TRIALS


def test_a_layer_that_costs_nothing_is_left_out(tmp_path: Path) -> None:
    """What it frees makes the others larger, and the race crowns it."""
    free = search(tmp_path, cost=0.0)
    report = free.run().study.report
    assert report is not None
    pruning = report["pruning"]
    assert report["best"]["origin"] == f"prune:{pruning['winner_layers'][0]}"
    assert pruning["with"]["layers"] == pruning["winner_layers"]
    assert pruning["with"]["mean_kld"] < pruning["without"]["mean_kld"]
    with free.workplace.open_store() as store:
        study = store.find_study("study")
        assert study is not None
        (line,) = status_object(store, study)["pruning"]
    assert "on search text" in line


def test_the_report_says_what_it_costs(finished: Search) -> None:
    with finished.workplace.open_store() as store:
        study = store.find_study("study")
        assert study is not None
        report = study.report
    assert report is not None
    pruning = report["pruning"]
    assert pruning["winner_layers"] == []
    assert pruning["without"]["trial"] == report["best"]["trial"]
    assert pruning["with"]["mean_kld"] > 10 * pruning["without"]["mean_kld"]
    assert (
        f"without layer {pruning['with']['layers'][0]} the KLD is {pruning['with']['mean_kld']:.5f}" in pruning["text"]
    )
    assert len(pruning["block_influence"]) == 4
    assert len(pruning["probes"]) == 2
    view = Report.from_json(report)
    assert pruning["text"] in view.fronts[0].pruning
    assert pruning["text"][1:] in model_card(view, view.fronts[0])


def test_without_pruning_nothing_changes(tmp_path: Path, finished: Search) -> None:
    """The same proposals under the same numbers, no evaluation more, nothing said of it."""
    plain = search(tmp_path, prune=0, trials=TRIALS - 2)
    outcome = plain.run()
    assert outcome.study.report is not None
    assert "pruning" not in outcome.study.report
    assert not {"block_influence", "prune_sets"} & set(outcome.study.progress or {})
    theirs = [trial for trial in finished.trials() if not str(trial[2]).startswith("prune")]
    assert plain.trials() == theirs


@pytest.mark.long
def test_two_layers_grow_from_the_best_one(tmp_path: Path) -> None:
    two = search(tmp_path, prune=2)
    progress = two.run().study.progress or {}
    sets = [tuple(each["layers"]) for each in progress["prune_sets"]]
    assert sets == [(1,), (2,), (1, 2)] or sets == [(2,), (1,), (1, 2)]
    assert progress["prune_sets"][2]["kld"] > progress["prune_sets"][0]["kld"]


@pytest.mark.long
@pytest.mark.parametrize("dies_at", [3, 24, 60])
def test_killed_anywhere_it_ends_the_same(tmp_path: Path, finished: Search, dies_at: int) -> None:
    again = search(tmp_path)
    total = finished.scored
    with pytest.raises(SystemExit):
        again.run(dies_at=min(dies_at, total - 12))
    assert again.run().finished
    assert again.trials() == finished.trials()


@pytest.mark.long
def test_more_trials_do_not_prune_again(tmp_path: Path) -> None:
    first = search(tmp_path)
    first.run()
    longer = plan(tmp_path, trials=TRIALS + 2)
    assert first.run(plan=longer).finished
    origins = [str(trial[2]) for trial in first.trials()]
    assert len(origins) == TRIALS + 2
    assert sorted(origin for origin in origins if origin.startswith("prune")) == ["prune:1", "prune:2"]


@pytest.mark.long
@pytest.mark.parametrize("sampler", ["random", "one_shot"])
def test_with_other_samplers(tmp_path: Path, sampler: str) -> None:
    other = search(tmp_path, sampler=sampler)
    assert other.run().finished
    assert any(str(trial[2]).startswith("prune:") for trial in other.trials())


def test_layers_that_are_named(tmp_path: Path) -> None:
    named = search(tmp_path, prune_candidates=[3])
    progress = named.run().study.progress or {}
    assert [each["layers"] for each in progress["prune_sets"]] == [[3]]
    assert "block_influence" not in progress


def test_candidates_by_influence(tmp_path: Path) -> None:
    config = plan(tmp_path, prune_candidates=2).config
    assert candidate_layers(config, [0.1, 0.5, 0.3, 0.4, 0.0]) == (2, 3)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"prune": 1, "prune_candidates": [0]}, RecipeError, "layer 0 cannot be pruned"),
        ({"prune": 1, "prune_candidates": [2, 4]}, RecipeError, "layers 0 to 3"),
        ({"prune": 3}, ConfigError, "only 2 layers may go"),
        ({"prune": 2, "prune_candidates": [1]}, ConfigError, "only 1 layers may go"),
        ({"prune": -1}, ConfigError, "prune"),
        ({"prune_candidates": 0}, ConfigError, "prune_candidates"),
    ],
)
def test_what_cannot_be_pruned_is_refused_in_the_plan(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        prepare(tmp_path, **changes)
