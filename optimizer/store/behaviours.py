"""Answers to suites of prompts, each generated once in a lifetime and kept with every transcript."""

from sqlalchemy import update

from optimizer.store.columns import database_now
from optimizer.store.database import Database
from optimizer.store.leases import require_lease
from optimizer.store.records import BehaviourRecord, Half, Lease
from optimizer.store.rows import changed_rows, insert_missing, read
from optimizer.store.schema import Behaviour

_KEY = ("subject", "suite_sha256", "half", "settings_key")


class Behaviours(Database):
    def find_behaviour(self, subject: str, suite_sha256: str, half: Half, settings_key: str) -> BehaviourRecord | None:
        with self.reading() as session:
            found = read(
                session,
                Behaviour,
                BehaviourRecord,
                Behaviour.subject == subject,
                Behaviour.suite_sha256 == suite_sha256,
                Behaviour.half == half,
                Behaviour.settings_key == settings_key,
            )
        return found[0] if found else None

    def behaviours(self, subject: str, suite_sha256: str, half: Half) -> list[BehaviourRecord]:
        """One subject's answers under any settings, in the order in which they were kept."""
        with self.reading() as session:
            return read(
                session,
                Behaviour,
                BehaviourRecord,
                Behaviour.subject == subject,
                Behaviour.suite_sha256 == suite_sha256,
                Behaviour.half == half,
                order=Behaviour.created_at,
            )

    def add_behaviour(self, record: BehaviourRecord, lease: Lease | None = None) -> BehaviourRecord:
        """Keeps a result; the first one stays, and the one that is there is returned.

        With a lease, raises StudyError when it was lost.
        """
        values = {name: getattr(record, name) for name in BehaviourRecord.__slots__}
        values["prompts"] = [dict(prompt) for prompt in record.prompts]
        values["summary"], values["generation"] = dict(record.summary), dict(record.generation)
        with self.writing() as session:
            if lease is not None:
                require_lease(session, lease)
            insert_missing(session, Behaviour, _KEY, values | {"created_at": database_now()})
            same = (getattr(Behaviour, key) == getattr(record, key) for key in _KEY)
            return read(session, Behaviour, BehaviourRecord, *same)[0]

    def judge_again(self, record: BehaviourRecord) -> None:
        """Replaces outcomes and scores of a result that is there, as after a check that could not be run before."""
        same = (getattr(Behaviour, key) == getattr(record, key) for key in _KEY)
        changed = update(Behaviour).where(*same)
        with self.writing() as session:
            changed_rows(
                session,
                changed.values(prompts=[dict(prompt) for prompt in record.prompts], summary=dict(record.summary)),
            )
