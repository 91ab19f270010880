"""One search holds a study at a time: a lease in the study's own row, checked by every write that carries it."""

import secrets

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, defer

from optimizer.errors import StudyError
from optimizer.store.columns import database_now
from optimizer.store.commits import forget_old_tokens
from optimizer.store.database import Database
from optimizer.store.holder import Holder, StudyHeld, current_holder
from optimizer.store.records import Lease
from optimizer.store.schema import Study

LEASE_SECONDS = 120.0
"""Without a renewal for this long, a holder on another host counts as gone."""


class Leases(Database):
    """A holder whose process is gone on this host is dead at once; one on another host until its lease runs out.

    A holder that was stopped or asleep for longer than its lease goes on if nobody took the study meanwhile; else its
    next write fails, for the token it carries is no longer the study's.
    """

    def acquire_lease(
        self, study_id: int, ttl_seconds: float = LEASE_SECONDS, *, holder: Holder | None = None
    ) -> Lease:
        """Takes the study for `holder` (this process) and forgets an earlier request to stop.

        Raises StudyHeld while another process has it; ask again to wait.
        """
        holder = holder or current_holder()
        with self.writing() as session:
            study = session.get(Study, study_id, with_for_update=True)
            if study is None:
                raise StudyError(f"Database {self.location} has no study {study_id}.")
            forget_old_tokens(session)
            now = session.scalar(select(database_now())) or 0.0
            before = _holder_of(study)
            expires_at = study.lease_expires_at or 0.0
            if before is not None and expires_at > now and not before.is_gone(holder):
                raise StudyHeld(study.name, before, expires_at, expires_at - now)
            study.lease_host, study.lease_pid = holder.host, holder.pid
            study.lease_process_started, study.lease_boot_id = holder.started_at, holder.boot_id
            study.lease_token = secrets.token_hex(16)
            study.lease_expires_at = now + ttl_seconds
            study.stop_requested_at = None
            return Lease(study_id, study.lease_token, ttl_seconds, study.lease_expires_at)

    def renew_lease(self, lease: Lease) -> Lease:
        """From now for another `ttl_seconds`. Raises StudyError when another process took the study."""
        with self.writing() as session:
            study = require_lease(session, lease)
            now = session.scalar(select(database_now())) or 0.0
            study.lease_expires_at = now + lease.ttl_seconds
            return Lease(lease.study_id, lease.token, lease.ttl_seconds, study.lease_expires_at)

    def release_lease(self, lease: Lease) -> None:
        """Lets others have the study at once. Does nothing when the lease was lost: a late end harms nobody."""
        with self.writing() as session:
            session.execute(
                update(Study)
                .where(Study.id == lease.study_id, Study.lease_token == lease.token)
                .values(
                    lease_host=None,
                    lease_pid=None,
                    lease_process_started=None,
                    lease_boot_id=None,
                    lease_token=None,
                    lease_expires_at=None,
                )
            )

    def request_stop(self, study_id: int) -> None:
        """Asks the search that holds the study to end its trial and pause. Needs no lease."""
        with self.writing() as session:
            session.execute(
                update(Study)
                .where(Study.id == study_id)
                .values(stop_requested_at=func.coalesce(Study.stop_requested_at, database_now()))
            )

    def stop_requested(self, study_id: int) -> bool:
        with self.reading() as session:
            return session.scalar(select(Study.stop_requested_at).where(Study.id == study_id)) is not None


def require_lease(session: Session, lease: Lease) -> Study:
    """The study's row, locked for this transaction. Raises StudyError when the lease is no longer the study's."""
    unread = (defer(Study.config), defer(Study.progress), defer(Study.report))  # some hundred kB, for every write
    study = session.get(Study, lease.study_id, with_for_update=True, options=unread)
    if study is None:
        raise StudyError(f"Study {lease.study_id} is no longer in the database.")
    if study.lease_token != lease.token:
        by = _holder_of(study)
        raise StudyError(
            f"Study '{study.name}' was taken over by {by or 'another process, which has ended'}. "
            "Nothing was written; run the same command again to continue when it is free."
        )
    return study


def living_holder(study: Study, now: float) -> Holder | None:
    """Who works on the study, as far as this process can tell."""
    holder = _holder_of(study)
    if holder is None or (study.lease_expires_at or 0.0) <= now or holder.is_gone(current_holder()):
        return None
    return holder


def _holder_of(study: Study) -> Holder | None:
    if study.lease_token is None or study.lease_host is None:
        return None
    return Holder(study.lease_host, study.lease_pid or 0, study.lease_process_started or 0.0, study.lease_boot_id or "")
