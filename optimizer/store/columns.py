"""Column types and SQL functions that mean the same on SQLite and PostgreSQL."""

import json
import zlib
from typing import Any

from sqlalchemy import JSON, Float, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces. Raises ValueError for NaN, which PostgreSQL's JSON has not."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class CompressedJson(TypeDecorator[Any]):
    """JSON in a zlib-compressed blob, for what SQL never looks into: a recipe of 1,000 tensors takes 2 kB, not 40."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        return None if value is None else zlib.compress(canonical_json(value).encode(), 6)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else json.loads(zlib.decompress(value))


def plain_text(text: str | None) -> str | None:
    """What PostgreSQL takes as text: U+FFFD for NUL and for half a surrogate pair, which a child process may print."""
    return None if text is None else text.replace("\0", "\ufffd").encode(errors="replace").decode()


def json_column() -> TypeEngine[Any]:
    """Readable JSON; None is SQL's NULL, not JSON's."""
    return JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class database_now(FunctionElement[float]):
    """Seconds since 1970 by the database's clock: hosts that share a database need not agree on the time."""

    type = Float()
    inherit_cache = True


@compiles(database_now, "sqlite")
def _sqlite_now(element: database_now, compiler: SQLCompiler, **kwargs: Any) -> str:
    # Digits enough for a millisecond; strftime('%s') would cut to whole seconds.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_now, "postgresql")
def _postgresql_now(element: database_now, compiler: SQLCompiler, **kwargs: Any) -> str:
    # now() is the start of the transaction, which may have waited for a lock.
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
