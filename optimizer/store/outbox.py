"""What the outside is to be told, written in the transaction of what it tells about and kept until it was told."""

import secrets
from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from optimizer.store.columns import database_now, plain_text
from optimizer.store.database import Database
from optimizer.store.holder import Holder, current_holder
from optimizer.store.records import EventRecord, NewEvent
from optimizer.store.rows import insert_missing, read
from optimizer.store.schema import Claim, OutboxEvent


class Outbox(Database):
    def pending_events(self, *, limit: int = 100, study_id: int | None = None) -> list[EventRecord]:
        """What was not delivered yet, oldest first."""
        where: list[ColumnElement[bool]] = [OutboxEvent.delivered_at.is_(None)]
        if study_id is not None:
            where.append(OutboxEvent.study_id == study_id)
        with self.reading() as session:
            return read(session, OutboxEvent, EventRecord, *where, order=OutboxEvent.id, limit=limit)

    def count_pending_events(self) -> int:
        with self.reading() as session:
            return session.scalar(select(func.count()).where(OutboxEvent.delivered_at.is_(None))) or 0

    def mark_delivered(self, event_ids: Sequence[int]) -> None:
        with self.writing() as session:
            session.execute(
                update(OutboxEvent)
                .where(OutboxEvent.id.in_(event_ids), OutboxEvent.delivered_at.is_(None))
                .values(delivered_at=database_now(), attempts=OutboxEvent.attempts + 1, last_error=None)
            )

    def mark_undelivered(self, event_id: int, error: str) -> None:
        """Counts an attempt that failed; the event stays pending."""
        with self.writing() as session:
            session.execute(
                update(OutboxEvent)
                .where(OutboxEvent.id == event_id)
                .values(attempts=OutboxEvent.attempts + 1, last_error=plain_text(error[:2000]))
            )

    def claim(
        self, name: str, ttl_seconds: float, *, token: str | None = None, holder: Holder | None = None
    ) -> str | None:
        """Takes or renews (with its token) a job that one process does at a time. None while another has it."""
        holder = holder or current_holder()
        mine = {
            "host": holder.host,
            "pid": holder.pid,
            "process_started": holder.started_at,
            "boot_id": holder.boot_id,
            "token": token or secrets.token_hex(16),
            "expires_at": database_now() + ttl_seconds,
        }
        with self.writing() as session:
            if insert_missing(session, Claim, ["name"], mine | {"name": name}):
                return str(mine["token"])
            held = session.get(Claim, name, with_for_update=True)
            if held is None:  # given back this moment; the next attempt will do
                return None
            now = session.scalar(select(database_now())) or 0.0
            if held.token != token and held.expires_at > now and not _holder_of(held).is_gone(holder):
                return None
            session.execute(update(Claim).where(Claim.name == name).values(**mine))
            return str(mine["token"])

    def release_claim(self, name: str, token: str) -> None:
        with self.writing() as session:
            held = session.get(Claim, name, with_for_update=True)
            if held is not None and held.token == token:
                session.delete(held)


def insert_events(session: Session, study_id: int, events: Sequence[NewEvent]) -> None:
    """Part of a transaction."""
    for each in events:
        session.add(
            OutboxEvent(
                study_id=study_id,
                trial_id=each.trial_id,
                kind=each.kind,
                payload=dict(each.payload),
                created_at=database_now(),
                attempts=0,
            )
        )


def _holder_of(claim: Claim) -> Holder:
    return Holder(claim.host, claim.pid, claim.process_started, claim.boot_id)
