"""KLD and prompts as two objectives: everybody answers, nobody on the front is beaten on both, the gate decides."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import ConfigError
from optimizer.export.report_prompt_front import prompt_front_lines, prompt_front_rows
from optimizer.search.best import kept_out
from optimizer.search.non_dominated import non_dominated
from optimizer.search.prompt_front import front_trials
from tests.search.answers import WRONG
from tests.search.gated import GatedSearch, OnlyBaselines, gated
from tests.search.searches import prepare
from tests.search.test_report import trial

FIGURES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]


@given(FIGURES)
def test_the_front_is_whatever_nobody_beats_each_pair_once(figures: list[tuple[int, int]]) -> None:
    front = non_dominated(enumerate(figures), lambda item: item[1])
    assert [figure for _, figure in front] == sorted(
        {each for each in figures if not any(beats(other, each) for other in figures)}
    )
    assert all(figures.index(figure) == index for index, figure in front)


def answered(number: int, kld: float, solved: int, size_bytes: int = 100, **more: Any) -> Any:
    return trial(number, kld, size_bytes, **{"metrics": {"prompts_solved": solved, "prompts_total": 9}, **more})


def test_who_is_on_the_front_of_a_budget() -> None:
    trials = [
        answered(0, 0.1, 5),
        answered(1, 0.1, 5, size_bytes=90),  # the smaller of equal ones stays
        answered(2, 0.2, 5),  # beaten
        answered(3, 0.3, 8, metrics={"prompts_solved": 8, "prompts_total": 9, "kept_out": "never ends"}),
        answered(4, 0.01, 9, size_bytes=200),  # too large
        answered(5, 0.01, 9, state="pruned"),
        answered(6, 0.01, 9, name="F16"),  # a rival
        trial(7, 0.01, 100),  # never asked
    ]
    assert [each.number for each in front_trials(trials, ("F16",), 100)] == [1, 3]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> GatedSearch:
    """What the search proposes has the lower KLD and solves nothing; the baselines solve everything."""
    folder = tmp_path_factory.mktemp("front")
    plan = gated(folder, objective="kld+prompts")
    search = GatedSearch(folder, plan, behaviour=OnlyBaselines(plan, WRONG))
    assert search.search().finished
    return search


def test_every_complete_trial_answers_and_the_gate_still_chooses(search: GatedSearch) -> None:
    complete = [trial for trial in search.records() if trial.state == "complete"]
    assert {(trial.metrics or {}).get("prompts_solved") for trial in complete} == {0, 4}
    report = search.search().study.report
    assert report is not None
    best = next(trial for trial in complete if trial.number == report["best"]["trial"])
    assert kept_out(best) is None
    assert (best.metrics or {})["prompts_solved"] == 4


def test_the_front_has_both_ends_measured_on_report_text_and_report_half(search: GatedSearch) -> None:
    report = search.search().study.report
    assert report is not None
    low, high = report["prompt_front"]
    assert (low["search"]["solved"], low["report"]["prompts"]["solved"], low["report"]["prompts"]["total"]) == (0, 0, 4)
    assert (high["search"]["solved"], high["report"]["prompts"]["solved"]) == (4, 4)
    assert low["search"]["mean_kld"] < high["search"]["mean_kld"]
    assert low["report"]["mean_kld"] != low["search"]["mean_kld"]
    assert low["kept_out"].startswith("solves 0 of 4")
    assert high["trial"] == report["best"]["trial"]
    title, worse, better = prompt_front_lines(prompt_front_rows(json.loads(json.dumps(report["prompt_front"]))))
    assert "no other beats" in title
    assert worse.endswith("solved 0 of 4 (0-49 %), kept out by the gate")
    assert f"KLD {high['search']['mean_kld']:.6f}, solved 4 of 4;" in better


def test_a_point_without_a_report_half_says_that_none_are_left(search: GatedSearch) -> None:
    report = search.search().study.report
    assert report is not None
    point = report["prompt_front"][0]
    (row,) = prompt_front_rows([{**point, "report": {**point["report"], "prompts": None}}])
    assert row.report_solved == "none are left"
    assert prompt_front_rows(None) == ()


def test_the_objective_needs_prompts_and_the_gate(tmp_path: Path) -> None:
    for changes in ({"prompts": "none"}, {"prompts": "demo", "gate": False}):
        with pytest.raises(ConfigError, match="needs prompts, and the gate"):
            prepare(tmp_path, objective="kld+prompts", **changes)
