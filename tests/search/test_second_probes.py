"""Second probes in whole searches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators.errors import EngineCrash
from optimizer.recipes.recipe import Recipe
from optimizer.search import second_probes
from optimizer.search.bench import probe_chunks
from optimizer.search.decoding import decode
from optimizer.search.measuring import Measurer
from optimizer.search.prior import Prior
from optimizer.search.probing import plan_probing
from tests.search.searches import FailingShards, Search, prepare
from tests.search.test_probes import ONE_BASELINE

OFF = {"trials": 1, "evaluation__chunks": 48, "second_probes": 11, **ONE_BASELINE}

GROUPS = ["token_embd", "output"] + [
    f"blk.{layer}.{role}"
    for layer in range(4)
    for role in ("attn_qk", "attn_v", "attn_output", "ffn_gate_up", "ffn_down")
]


class Watched:
    """A search whose priors before and after its second probes are kept, and every place that was looked at."""

    def __init__(self, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
        self.search = search
        self.rounds: list[list[tuple[int, int]]] = []
        look_again, in_turn = second_probes.look_again, second_probes._in_turn

        def watched(context: Any, measurer: Measurer, prior: Prior, sensitivities: Any) -> Prior:
            self.measurer, self.before, scored = measurer, prior, search.scored
            self.left = (context.plan.config.tokens or 0) - context.store.study(context.study.id).tokens_evaluated
            self.after = look_again(context, measurer, prior, sensitivities)
            self.spent = search.scored - scored
            self.true = [self._measure(*place) for places in self.rounds for place in places]
            return self.after

        def counted(context: Any, measurer: Measurer, base: Any, places: Any, look: Any) -> Any:
            self.rounds.append(places)
            return in_turn(context, measurer, base, places, look)

        monkeypatch.setattr("optimizer.search.runner.look_again", watched)
        monkeypatch.setattr("optimizer.search.second_probes._in_turn", counted)
        assert search.run().finished

    def _measure(self, unit: int, option: int) -> float:
        """The option alone on the whole text, everything else as the source has it, nats per token."""
        plan = self.search.plan
        types = plan.space.units[unit].options[option].tensor_types
        recipe = Recipe({**{name: plan.model.by_name[name].tensor_type for name in plan.parameters}, **types})
        try:
            return self.measurer.measure(recipe, self.measurer.text.n_chunks).score.mean_kld
        except EngineCrash:
            return float("nan")

    def type_of(self, unit: int, option: int) -> str:
        return self.search.plan.space.units[unit].options[option].name

    @property
    def places(self) -> list[tuple[int, int]]:
        return [place for places in self.rounds for place in places]

    def error(self, prior: Prior) -> float:
        """Standard deviation of ln(expected / measured on the whole text) over what was looked at."""
        found = np.array([prior.damage[place] for place in self.places])
        return float(np.std(np.log(found / np.array(self.true))))


def test_what_the_knapsack_takes_is_measured_and_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(Search(tmp_path, prepare(tmp_path, **OFF)), monkeypatch)
    plan = watched.search.plan
    assert 3 < len(watched.places) == len({*watched.places}) <= 11
    chosen = decode(plan.space, watched.before.damage, plan.budgets[0].n_bytes)
    assert all(chosen[unit] == option for unit, option in watched.rounds[0])
    assert watched.error(watched.after) < 0.7 * watched.error(watched.before)


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({"units": "groups"}, 0.0),
        ({"units": "groups", "pins": {"^output": "Q6_K"}}, 0.0),
        ({"units": "groups", "pins": {"blk.0.attn_q": "Q6_K"}}, 0.5),  # attn_k of it was probed with attn_q
        ({"units": "groups", "probing": "layers_roles"}, 0.5),
        ({"units": "layers"}, 0.5),
        ({"units": "tensors", "budget": "Q3_K_M,IQ4_XS"}, 1.0),
    ],
)
def test_by_default_half_as_many_as_parts_where_units_have_no_probe(
    tmp_path: Path, settings: dict[str, Any], share: float
) -> None:
    plan = prepare(tmp_path, **settings)
    probing = plan_probing(plan)
    parts = sum(probe.kind != "uniform" for probe in probing.probes)
    assert second_probes.most_second_probes(plan, probing) == int(share * parts)


def test_as_many_as_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = prepare(tmp_path, probing="layers_roles", **{**OFF, "second_probes": 5})
    assert len(Watched(Search(tmp_path, plan), monkeypatch).places) == 5


def test_sensitivities_of_a_relative_get_none_but_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)  # writes the model
    rows = [f"{name},Q3_K,{0.01 * (number + 1)},,source,imported" for number, name in enumerate(GROUPS)]
    table = tmp_path / "relative.csv"
    table.write_text("\n".join(["unit,tensor_type,kld,standard_error,base,source", *rows]) + "\n")
    given = {"sensitivities": str(table), "units": "layers"}
    by_default = prepare(tmp_path, **given, **{**OFF, "second_probes": None})
    assert second_probes.most_second_probes(by_default, plan_probing(by_default)) == 0
    watched = Watched(Search(tmp_path, prepare(tmp_path, **given, **{**OFF, "second_probes": 4})), monkeypatch)
    assert len(watched.places) == 4
    assert watched.error(watched.after) < watched.error(watched.before)


def test_where_tokens_are_limited_half_are_left_for_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = prepare(tmp_path, tokens=100_000, **{**OFF, "trials": 100})
    watched = Watched(Search(tmp_path, plan), monkeypatch)
    each = second_probes.CHUNKS * probe_chunks(plan.config, 144) * plan.config.evaluation.ctx_size
    assert 0 < len(watched.places) < 11
    assert len(watched.places) * each <= watched.left / 2 < (len(watched.places) + 1) * each
    assert len(watched.search.trials()) > 1


def test_a_study_that_began_without_them_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(tmp_path, prepare(tmp_path, **OFF))
    with monkeypatch.context() as before_there_were_any:
        before_there_were_any.setattr("optimizer.search.runner.look_again", lambda _, __, prior, ___: prior)
        assert search.run().finished
    search.plan = prepare(tmp_path, **{**OFF, "trials": 2})
    watched = Watched(search, monkeypatch)
    assert watched.spent == 0
    assert watched.after is watched.before


@pytest.mark.parametrize(("then", "looked"), [({}, 5), ({"second_probes": 3}, 3), ({"tokens": 200_000}, 5)])
def test_stopped_before_the_first_trial_the_settings_at_hand_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: dict[str, Any], looked: int
) -> None:
    first = {**OFF, "second_probes": 5, "tokens": 120_000}
    search = Search(tmp_path, prepare(tmp_path, **first))
    with pytest.raises(SystemExit):
        search.run(dies_at=4 + 28 + 3)  # the noise floor, the first probes, three of the second
    assert not search.trials()
    search.plan = prepare(tmp_path, **{**first, **then})
    assert len(Watched(search, monkeypatch).places) == looked


def test_killed_among_them_limited_tokens_make_as_many_as_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**OFF, "tokens": 100_000}
    with monkeypatch.context() as watching:
        alone = Watched(Search(tmp_path / "alone", prepare(tmp_path / "alone", **settings)), watching)
    killed = Search(tmp_path / "killed", prepare(tmp_path / "killed", **settings))
    with pytest.raises(SystemExit):
        killed.run(dies_at=4 + 28 + 3)
    assert len(Watched(killed, monkeypatch).places) == len(alone.places) == 4


def test_none_where_the_settings_want_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(Search(tmp_path, prepare(tmp_path, **{**OFF, "second_probes": 0})), monkeypatch)
    assert watched.spent == 0
    assert watched.after is watched.before


def test_they_start_from_the_base_of_the_first_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = prepare(tmp_path, probe_base="budget", budget="4.6bpw", **OFF)
    watched = Watched(Search(tmp_path, plan), monkeypatch)
    assert plan_probing(plan).base.name == "Q4_K"
    assert watched.places
    assert {watched.type_of(*place) for place in watched.places} <= {"Q2_K", "Q3_K"}
    assert watched.error(watched.after) < watched.error(watched.before)


def test_an_option_whose_probe_fails_is_protected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a search looks at again cannot be made: it is believed worse than before, and that is said."""
    looked = Watched(Search(tmp_path / "as it is", prepare(tmp_path, **OFF)), monkeypatch)
    unit, option = next(place for place in looked.rounds[0] if looked.type_of(*place) != "Q3_K")
    types = looked.search.plan.space.units[unit].options[option].tensor_types
    tensor, tensor_type = next(iter(types.items()))
    failing = FailingShards(f"{tensor.removesuffix('weight')}", tensor_type)
    watched = Watched(Search(tmp_path / "failing", prepare(tmp_path, **OFF), failures=failing), monkeypatch)
    assert any("its part is protected" in line for line in watched.search.reporter.lines)
    ratio = watched.after.damage / watched.before.damage
    assert ratio[unit, option] > 1.5 * np.nanmedian(ratio[unit + 1 :])
