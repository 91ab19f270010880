"""What ends proposing: tokens, a sampler that has but one answer, and how much of the text a trial may see."""

from pathlib import Path

from tests.search.searches import Search, prepare

FEW_BASELINES = {"baselines__presets": False, "baselines__variants": False, "baselines__hybrids": False}


def test_tokens_end_proposing_and_more_tokens_continue(tmp_path: Path) -> None:
    few = Search(tmp_path, prepare(tmp_path, tokens=70_000, trials=500, **FEW_BASELINES))
    assert few.run().finished
    first = few.trials()
    assert 3 < len(first) < 100
    few.plan = prepare(tmp_path, tokens=80_000, trials=500, **FEW_BASELINES)
    assert few.run().finished
    again = few.trials()
    assert len(again) > len(first)
    assert again[: len(first)] == first
    scored = few.scored
    assert few.run().finished
    assert few.scored == scored


def test_a_one_shot_sampler_ends_after_its_proposal(tmp_path: Path) -> None:
    for sampler in ("one_shot", "greedy", "weight_error"):
        search = Search(tmp_path, prepare(tmp_path, sampler=sampler, trials=30))
        search.name = sampler
        assert search.run().finished
        proposed = [trial for trial in search.trials() if trial[2] == sampler]
        assert len(proposed) == 1
        scored = search.scored
        assert search.run().finished
        assert search.scored == scored


def test_stages_of_an_evolution_see_their_share_of_the_text(tmp_path: Path) -> None:
    search = Search(tmp_path, prepare(tmp_path, sampler="evolution_short", trials=40, evaluation__batch_size=64))
    assert search.run().finished
    with search.workplace.open_store() as store:
        study = store.find_study("study")
        assert study is not None
        own = [trial for trial in store.trials(study.id) if trial.name is None]
    screened = [trial for trial in own if trial.state == "pruned"]
    assert {trial.chunks_scored for trial in screened} >= {2, 4}
    assert all((trial.metrics or {})["share_of_text"] < 1 for trial in screened)
    assert any(trial.state == "complete" for trial in own)
