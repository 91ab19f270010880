"""Deleting a study."""

import pytest

from optimizer.errors import StudyError
from optimizer.store import Store
from tests.store.studies import new_study


def test_a_study_goes_and_what_others_use_stays(store: Store) -> None:
    study = new_study(store)
    study.finish(study.start(), evaluations=[study.evaluation()])
    with pytest.raises(StudyError, match="held by"):
        store.delete_study(study.study_id)
    assert len(store.trials(study.study_id)) == 1
    store.release_lease(study.lease)
    store.delete_study(study.study_id)
    assert store.find_study("night") is None
    assert store.trials(study.study_id) == []
    assert len(store.find_evaluations(study.recipe_id, study.text_id, study.settings_key)) == 1
    with pytest.raises(StudyError, match="no study"):
        store.delete_study(study.study_id)
