"""Events wait, in order, until they were delivered."""

import pytest

from optimizer.errors import StudyError
from optimizer.store import NewEvent, Store
from tests.store.studies import Fixture, new_study


def test_events_wait_in_order_until_delivered(store: Store, study: Fixture) -> None:
    store.update_study(study.lease, events=[NewEvent(f"kind {number}") for number in range(5)])
    events = store.pending_events(limit=3)
    assert [event.kind for event in events] == ["kind 0", "kind 1", "kind 2"]
    store.mark_delivered([events[0].id, events[1].id])
    store.mark_undelivered(events[2].id, "connection refused")
    (first, *_) = store.pending_events()
    assert (first.kind, first.attempts, first.last_error) == ("kind 2", 1, "connection refused")
    assert store.count_pending_events() == 3
    store.mark_delivered([event.id for event in store.pending_events()])
    assert store.count_pending_events() == 0


def test_events_of_one_study(store: Store, study: Fixture) -> None:
    other = new_study(store, "other")
    store.update_study(other.lease, events=[NewEvent("b")])
    store.update_study(study.lease, events=[NewEvent("a")])
    assert [event.kind for event in store.pending_events(study_id=study.study_id)] == ["a"]


def test_an_event_without_its_change_is_not_written(store: Store, study: Fixture) -> None:
    store.release_lease(study.lease)
    with pytest.raises(StudyError):
        store.update_study(study.lease, events=[NewEvent("a")])
    assert store.count_pending_events() == 0
