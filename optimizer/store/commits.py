"""Was it committed? A server that goes away between a commit and its answer leaves that open.

On PostgreSQL each transaction that writes also inserts a token, before its commit. When the answer is lost, the token
is inserted once more on another connection: if it is there, the transaction was committed; if an unfinished transaction
holds it, the insert waits for that one's end; and if it goes in, nothing was written. PostgreSQL's own
`pg_xact_status` would do, but for a crash, after which a transaction's number may be given again.
"""

import secrets

from sqlalchemy import delete
from sqlalchemy.orm import Session

from optimizer.store.columns import database_now
from optimizer.store.rows import insert_missing
from optimizer.store.schema import Commit

KEPT_SECONDS = 24 * 3600.0
"""Far longer than anybody waits for an answer."""


def leave_token(session: Session) -> str | None:
    """Part of a transaction, right before its commit. None on SQLite, where no answer can be lost."""
    if session.get_bind().dialect.name == "sqlite":
        return None
    token = secrets.token_hex(16)
    insert_missing(session, Commit, ["token"], {"token": token, "created_at": database_now()})
    return token


def is_committed(session: Session, token: str) -> bool:
    """In a transaction of its own, which is undone."""
    inserted = insert_missing(session, Commit, ["token"], {"token": token, "created_at": database_now()})
    session.rollback()
    return not inserted


def forget_old_tokens(session: Session) -> None:
    session.execute(delete(Commit).where(Commit.created_at < database_now() - KEPT_SECONDS))
