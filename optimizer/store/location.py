"""Which database is meant, and how it is named in messages: never with its password."""

import re
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from optimizer.errors import ConfigError, StorageError

DATABASE_NAME = "layerquant.db"

_DRIVERS = dict.fromkeys(("postgresql", "postgres", "postgresql+psycopg"), "postgresql+psycopg")
_EXAMPLES = "sqlite:///studies/my.db or postgresql://user@host/database"


def database_url(url_or_path: str | Path) -> URL:
    """A URL as given; a file path as SQLite; a folder as the `layerquant.db` in it, made when it is missing.

    PostgreSQL is reached by psycopg 3, however its URL begins. A password may stand in the URL, in PGPASSWORD or in
    ~/.pgpass. Raises StorageError when the folder cannot be made, ConfigError for a URL that cannot be read.
    """
    text = str(url_or_path)
    if "://" in text:
        try:
            url = make_url(text)
        except (ArgumentError, ValueError) as error:
            raise ConfigError(
                f"Database URL '{without_password(text)}' cannot be read. Give one such as {_EXAMPLES}"
            ) from error
        if url.get_backend_name() != "sqlite":
            return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
        if url.database in (None, "", ":memory:"):
            raise ConfigError("A database in memory would lose the study. Give a file, such as sqlite:///studies/my.db")
        text = str(url.database)
    path = Path(text)
    if path.suffix == "" or path.is_dir():
        path = path / DATABASE_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"Folder {path.parent} cannot be made: {error.strerror}. Give another with --studies or --database."
        ) from error
    return URL.create("sqlite", database=str(path.resolve()))


def shown(url: URL) -> str:
    """A file's path, or a server's URL with `***` for every password."""
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    secret = {name: "***" for name in url.query if "password" in name}
    plain = url.set(drivername=url.get_backend_name()).update_query_dict(secret)
    return plain.render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def without_password(text: str) -> str:
    """Of a text that is no proper URL: all that may be a password is left out."""
    hidden = re.sub(r"(://[^:/?#]*):.*@", r"\1:***@", text)
    return re.sub(r"(password=)[^&]*", r"\1***", hidden)
