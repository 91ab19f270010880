"""The gate in a search: who is kept out, what is said of it, and that a kill or no prompts at all change nothing."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from optimizer.errors import ConfigError
from optimizer.export.answers import Named, show_answers
from optimizer.export.report_prompts import PromptReport
from optimizer.search.best import KEPT_OUT, kept_out, prompts_solved
from optimizer.search.reported_answers import asked_suite, reported_answers
from optimizer.search.trial_lines import trial_line
from tests.search.answers import LOOP, RIGHT, write_suite
from tests.search.gated import TRIALS, GatedSearch, OnlyBaselines, gated
from tests.search.searches import prepare


@pytest.fixture(scope="module")
def looping(tmp_path_factory: pytest.TempPathFactory) -> GatedSearch:
    """Every proposal loops."""
    folder = tmp_path_factory.mktemp("looping")
    plan = gated(folder)
    search = GatedSearch(folder, plan, behaviour=OnlyBaselines(plan, LOOP))
    assert search.search().finished
    return search


def test_who_loops_where_the_source_does_not_is_kept_out(looping: GatedSearch) -> None:
    trials = looping.records()
    out = [trial for trial in trials if kept_out(trial) is not None]
    assert out
    assert all(trial.state == "complete" and trial.mean_kld is not None for trial in out)
    assert all("never ends on p" in (kept_out(trial) or "") for trial in out)
    best = looping.search().study.report["best"]  # type: ignore[index]
    assert best["name"] is not None
    assert min(trial.mean_kld or 9.0 for trial in out) < best["search_mean_kld"]


def test_a_trial_says_what_it_solved_and_its_line_why_it_is_out(looping: GatedSearch) -> None:
    out = next(trial for trial in looping.records() if kept_out(trial) is not None)
    metrics = out.metrics or {}
    assert (metrics["prompts_solved"], metrics["prompts_total"], metrics["prompts_loops"]) == (0, 4, 4)
    (line,) = [line for line in looping.reporter.lines if line.startswith(f"[yellow]{out.number:>5} ")]
    assert "0 of 4 solved kept out: " in line
    assert "never ends" in line


def test_who_was_asked_nothing_has_no_count(looping: GatedSearch) -> None:
    trials = looping.records()
    silent = next(trial for trial in trials if prompts_solved(trial) is None)
    assert "solved" not in trial_line(silent, crowned=False)
    assert {prompts_solved(trial) for trial in trials} == {None, "0 of 4", "4 of 4"}


def test_answers_too_short_for_a_first_look_are_said_to_be_so_once(looping: GatedSearch) -> None:
    assert sum("the source's answers fill 0 chunks of 64 tokens" in line for line in looping.reporter.lines) == 1


def test_only_would_be_incumbents_are_asked_with_the_source_as_their_draft(looping: GatedSearch) -> None:
    (_, search_half, no_draft), *others = looping.asked
    assert no_draft == 0
    assert set(looping.asked[0][0].values()) <= {"F16", "F32"}
    report_half = {f"p{number}" for number in range(8)} - set(search_half)
    assert {questions for _, questions, _ in others} == {search_half, tuple(sorted(report_half))}
    assert {drafts for _, questions, drafts in others if questions == search_half} == {4}
    complete = [trial for trial in looping.records() if trial.state == "complete"]
    assert len([each for each in looping.asked if each[1] == search_half]) <= len(complete)


def test_the_report_has_the_other_half(looping: GatedSearch) -> None:
    report = looping.search().study.report
    assert report is not None
    prompts = report["prompts"]
    assert (prompts["suite"], prompts["total"], prompts["kept_out"]) == ("sums/report", 4, None)
    rows = {row["kind"]: row for row in prompts["rows"]}
    assert rows["source"]["solved"] == rows["winner"]["solved"] == 4
    assert rows["winner"]["agreement"]["share"] == 1.0
    assert rows["source"]["paired"] == {"gained": 0, "lost": 0, "compared": 4, "p_value": 1.0}


def test_the_answers_behind_the_report_are_found_and_shown_side_by_side(looping: GatedSearch) -> None:
    with looping.workplace.open_store() as store:
        study = store.find_study(looping.name)
        assert study is not None
        report = dict(study.report or {})
        found = reported_answers(store, study, report)
        rows = report["prompts"]["rows"]
        assert set(found) == {row["kind"] for row in rows}
        asked = asked_suite(study, report)
        assert asked is not None
        other = {**report["prompts"], "rows": [{**row, "generated_tokens": 1} for row in rows]}
        assert reported_answers(store, study, {**report, "prompts": other}) == {}
        assert asked_suite(study, {**report, "prompts": {**other, "suite_sha256": "other"}}) is None
        assert reported_answers(store, study, {**report, "prompts": None}) == {}
    shown = show_answers(Named("winner", found["winner"]), Named("source", found["source"]), suite=asked)
    assert len(shown.identical) == report["prompts"]["total"] == 4
    assert set(shown.identical) < {prompt.id for prompt in asked.prompts}


def test_killed_while_it_generates_it_goes_on_and_generates_nothing_twice(tmp_path: Path, looping: GatedSearch) -> None:
    plan = gated(tmp_path)
    search = GatedSearch(tmp_path, plan, behaviour=OnlyBaselines(plan, LOOP))
    with pytest.raises(SystemExit):
        search.search(stops_answering_at=2)
    assert search.search().finished
    assert [trial[:5] for trial in search.trials()] == [trial[:5] for trial in looping.trials()]
    assert [trial.metrics for trial in search.records()] == [trial.metrics for trial in looping.records()]
    assert search.asked == looping.asked


def test_where_the_gate_lets_nobody_through_the_report_says_so(tmp_path: Path) -> None:
    def only_the_source(types: Mapping[str, str], question_id: str) -> str:
        return RIGHT if set(types.values()) <= {"F16", "F32"} else LOOP

    search = GatedSearch(tmp_path, gated(tmp_path, trials=4, sampler="random"), behaviour=only_the_source)
    report = search.search().study.report
    assert report is not None
    assert "never ends" in report["prompts"]["kept_out"]
    assert {trial.metrics[KEPT_OUT] != "" for trial in search.records() if trial.metrics} == {True}


def test_without_prompts_nothing_is_generated_and_nothing_kept(tmp_path: Path) -> None:
    search = GatedSearch(tmp_path, prepare(tmp_path, trials=4, sampler="random", prompts="none"))
    report = search.search().study.report
    assert report is not None
    assert search.asked == []
    assert "prompts" not in report
    assert all(trial.metrics is None for trial in search.records() if trial.state == "complete")


def test_without_the_gate_prompts_are_for_the_report_alone(tmp_path: Path) -> None:
    search = GatedSearch(tmp_path, gated(tmp_path, trials=4, sampler="random", gate=False))
    report = search.search().study.report
    assert report is not None
    assert len({questions for _, questions, _ in search.asked}) == 1
    assert report["prompts"]["total"] == 4


def test_where_all_prompts_chose_the_report_has_none_and_says_so(tmp_path: Path) -> None:
    suite = write_suite(tmp_path / "one.yaml", prompts=1)
    search = GatedSearch(tmp_path, gated(tmp_path, trials=2, sampler="random", prompts=str(suite)))
    document = search.search().study.report
    assert document is not None
    assert (document["prompts"]["total"], document["prompts"]["rows"]) == (0, [])
    assert {questions for _, questions, _ in search.asked} == {("p0",)}
    seen = PromptReport.from_json(document["prompts"])
    assert seen is not None
    assert "none are left to report on" in seen.lines()[0]


def test_another_suite_is_another_study(looping: GatedSearch) -> None:
    folder = looping.workplace.studies.parent
    other = prepare(folder, trials=TRIALS, prompts=str(write_suite(folder / "other.yaml", prompts=9)))
    with pytest.raises(ConfigError, match="prompts: their contents"):
        looping.run(plan=other)
    moved = prepare(folder, trials=TRIALS, prompts=str(write_suite(folder / "moved.yaml")))
    assert looping.run(plan=moved).finished


def test_a_suite_that_cannot_be_halved_or_found_is_refused(tmp_path: Path) -> None:
    for_report, for_search = (
        str(write_suite(tmp_path / f"{category}.yaml", prompts=1, category=category))
        for category in ("riddles", "sums")
    )
    with pytest.raises(ConfigError, match="its search half is empty, and nothing is left to choose by"):
        prepare(tmp_path, prompts=for_report)
    with pytest.raises(ConfigError, match="its report half is empty"):
        prepare(tmp_path, prompts=for_search, gate=False)
    assert prepare(tmp_path, prompts=for_report, gate=False).prompts is not None
    with pytest.raises(ConfigError, match=r"no prompt suite 'cor'; shipped are .*demo"):
        prepare(tmp_path, prompts="cor")
    with pytest.raises(ConfigError, match="no such file"):
        prepare(tmp_path, prompts="absent/suite.yaml")
