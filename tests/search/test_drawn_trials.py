"""A study's trials are scored on chunks drawn from a longer text, the same ones for its whole life."""

from pathlib import Path

import pytest

from evaluators.divergence import ChunkScore
from optimizer.search import runner
from optimizer.search.best import estimated_kld
from optimizer.search.draw import DRAW, Draw
from optimizer.search.early_phases import POOL_CHUNKS
from optimizer.search.trial_lines import trial_line
from optimizer.store import Store, StudyRecord
from tests.search.searches import Search, prepare

RUNG = 4
"""Chunks that every trial of these searches sees: a quarter of 16, one batch."""


def record(store: Store) -> StudyRecord:
    study = store.find_study("study")
    assert study is not None
    return study


def scores(store: Store, study: StudyRecord, recipe_id: int) -> list[ChunkScore]:
    """What was measured of a recipe on the search text."""
    search_text = study.config["contents"][0]
    rows = [row for digest, row in store.evaluations_of(recipe_id) if digest == search_text]
    return [ChunkScore.from_dict(chunk) for row in rows for chunk in row.chunks]


def test_a_trials_kld_is_the_estimate_from_its_drawn_chunks(tmp_path: Path) -> None:
    search = Search(tmp_path, prepare(tmp_path, evaluation__batch_size=RUNG * 64))
    assert search.run().finished
    with search.workplace.open_store() as store:
        study = record(store)
        assert study.progress is not None
        draw = Draw.from_json(study.progress[DRAW])
        assert (len(draw.order), draw.pool, study.progress[POOL_CHUNKS]) == (16, 48, 48)
        assert set(draw.order) <= set(range(48))
        assert set(draw.order) != set(range(16))
        complete = [trial for trial in store.trials(study.id) if trial.state == "complete"]
        for trial in complete:
            assert trial.chunks_scored == 16
            assert trial.mean_kld == pytest.approx(draw.counted(scores(store, study, trial.recipe_id)).mean_kld)
        pruned = [trial for trial in store.trials(study.id) if trial.state == "pruned"]
        assert pruned
        for trial in pruned:
            seen = {score.chunk for score in scores(store, study, trial.recipe_id)}
            start = trial.number * RUNG % len(draw.order)
            assert set(draw.turned(start).order[: trial.chunks_scored]) <= seen
            assert f"~{estimated_kld(trial):.6f}" in trial_line(trial, crowned=False)
        assert study.report is not None
        assert study.report["search_text"]["chunks"] == 16
        assert study.report["search_text"]["drawn_from"] == 48


def test_more_trials_are_scored_on_the_same_chunks(tmp_path: Path) -> None:
    search = Search(tmp_path, prepare(tmp_path, trials=8))
    assert search.run().finished
    with search.workplace.open_store() as store:
        before = record(store).progress
    search.plan = prepare(tmp_path, trials=12)
    assert search.run().finished
    with search.workplace.open_store() as store:
        after = record(store).progress
    assert before is not None
    assert after is not None
    assert after[DRAW] == before[DRAW]


def test_other_settings_before_the_first_trial_leave_no_old_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(tmp_path, prepare(tmp_path, trials=6))

    def power_goes(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(runner, "measure_prune_sets", power_goes)  # what comes after the draw
        with pytest.raises(SystemExit):
            search.run()
    with search.workplace.open_store() as store:
        assert (record(store).progress or {})[DRAW]["pool"] == 48
    search.plan = prepare(tmp_path, trials=6, evaluation__pool_chunks=16)
    assert search.run().finished
    with search.workplace.open_store() as store:
        assert (record(store).progress or {})[DRAW] is None
        assert "drawn_from" not in (record(store).report or {})["search_text"]


def test_a_study_begun_before_there_were_draws_keeps_its_first_chunks(tmp_path: Path) -> None:
    """Its trials' KLD could not be compared with those of drawn chunks."""
    search = Search(tmp_path, prepare(tmp_path, trials=8, evaluation__pool_chunks=16))
    assert search.run().finished
    with search.workplace.open_store() as store:
        study = record(store)
        assert (study.progress or {}).get(DRAW) is None
        lease = store.acquire_lease(study.id)
        kept = {key: value for key, value in (study.progress or {}).items() if key != POOL_CHUNKS}
        settings = {**study.config, "evaluation": {**study.config["evaluation"]}}
        settings["evaluation"].pop("pool_chunks")  # such studies know of no such setting
        store.update_study(lease, progress=kept, config=settings)
        store.release_lease(lease)
    search.plan = prepare(tmp_path, trials=12)
    assert search.run().finished
    with search.workplace.open_store() as store:
        study = record(store)
        assert (study.progress or {}).get(DRAW) is None
        late = [t for t in store.trials(study.id) if t.state == "complete"][-1]
        chunks = sorted(score.chunk for score in scores(store, study, late.recipe_id))
        assert chunks[:16] == list(range(16))


def test_samplers_without_probes_and_short_texts_take_the_first_chunks(tmp_path: Path) -> None:
    for name, changes in (("random", {"sampler": "random"}), ("short", {"evaluation__chunks": 300})):
        search = Search(tmp_path, prepare(tmp_path, trials=4, **changes))
        search.name = name
        assert search.run().finished
        with search.workplace.open_store() as store:
            study = store.find_study(name)
            assert study is not None
            assert (study.progress or {}).get(DRAW) is None
