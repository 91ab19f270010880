"""Results are kept once, and given back exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import StorageError, StudyError
from optimizer.store import SensitivityRecord, Store
from optimizer.store.catalogue import settings_key
from tests.store.studies import Fixture


def test_adding_twice_gives_the_same_rows(store: Store, study: Fixture) -> None:
    moved = store.add_model(
        fingerprint="f1", name="tiny", path="elsewhere.gguf", architecture="qwen3", n_layer=2, size_bytes=1000
    )
    assert moved == store.model(store.study(study.study_id).model_id)
    assert moved.path == "elsewhere.gguf"
    again = store.add_recipe(moved.id, "k1", {"ignored": "F16"}, plain_bytes=1)
    assert again == store.recipe(study.recipe_id)
    assert again.tensor_types == {"blk.0.ffn_up.weight": "Q4_K"}
    assert store.find_recipe(moved.id, "k1") == again
    assert store.find_recipe(moved.id, "k2") is None
    assert store.add_text(sha256="t1", path="other.txt", n_bytes=5000).id == study.text_id
    assert store.recipes([study.recipe_id, 99]) == {study.recipe_id: again}


def test_an_evaluation_is_kept_once_and_exactly(store: Store, study: Fixture) -> None:
    first = study.evaluation()
    assert store.find_evaluations(study.recipe_id, study.text_id, study.settings_key) == []
    (kept,) = store.add_evaluations([first], study.lease)
    assert kept.chunks == first.chunks
    other = study.evaluation(summary={"mean_kld": 9.0})
    assert store.add_evaluations([other], study.lease) == [kept]
    assert store.find_evaluations(study.recipe_id, study.text_id, study.settings_key) == [kept]
    assert store.study(study.study_id).tokens_evaluated == 1024


def test_other_settings_or_chunks_are_other_evaluations(store: Store, study: Fixture) -> None:
    other_key = store.add_settings({"ctx_size": 1024, "engine": "b1"})
    store.add_evaluations(
        [
            study.evaluation(4),
            study.evaluation(0),
            study.evaluation(0, n_chunks=1),
            study.evaluation(settings_key=other_key),
        ]
    )
    found = store.find_evaluations(study.recipe_id, study.text_id, study.settings_key)
    assert [each.first_chunk for each in found] == [0, 0, 4]
    assert len(store.find_evaluations(study.recipe_id, study.text_id, other_key)) == 1
    assert store.settings(other_key) == {"ctx_size": 1024, "engine": "b1"}


def test_results_after_a_lost_lease_are_refused(store: Store, study: Fixture) -> None:
    store.release_lease(study.lease)
    with pytest.raises(StudyError, match="taken over"):
        store.add_evaluations([study.evaluation()], study.lease)
    assert store.find_evaluations(study.recipe_id, study.text_id, study.settings_key) == []


def test_an_imported_sensitivity_never_replaces_a_measured_one(store: Store, study: Fixture) -> None:
    def sensitivity(kld: float, source: str, unit: str = "blk.0") -> SensitivityRecord:
        model_id = store.study(study.study_id).model_id
        return SensitivityRecord(
            model_id,
            study.text_id,
            study.settings_key,
            unit,
            "Q3_K",
            "F16",
            kld,
            source=source,  # type: ignore[arg-type]
        )

    def kept() -> list[tuple[float, str]]:
        model_id = store.study(study.study_id).model_id
        return [(each.kld, each.source) for each in store.sensitivities(model_id, study.text_id, study.settings_key)]

    assert store.add_sensitivities([sensitivity(1.0, "imported"), sensitivity(2.0, "imported", "blk.1")]) == 2
    assert store.add_sensitivities([sensitivity(1.5, "imported")]) == 1
    assert store.add_sensitivities([sensitivity(3.0, "measured")]) == 1
    assert store.add_sensitivities([sensitivity(4.0, "imported")]) == 0
    assert kept() == [(3.0, "measured"), (2.0, "imported")]


def test_what_is_not_there_is_named(store: Store) -> None:
    for ask in (store.recipe, store.model):
        with pytest.raises(StorageError, match="has no"):
            ask(7)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _json, max_size=4))
def test_a_settings_key_does_not_depend_on_order(settings: dict[str, object]) -> None:
    assert settings_key(settings) == settings_key(dict(reversed(settings.items())))


@given(st.dictionaries(st.text(), _json, max_size=4), st.dictionaries(st.text(), _json, max_size=4))
def test_other_settings_have_another_key(one: dict[str, object], other: dict[str, object]) -> None:
    same = repr(sorted(one.items())) == repr(sorted(other.items()))
    if same or one != other:  # 1, 1.0 and True are equal to Python alone
        assert (settings_key(one) == settings_key(other)) == same
