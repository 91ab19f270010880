"""The one place where a text that a user names becomes a file of this machine."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from optimizer.errors import ConfigError
from optimizer.named_files import find_file
from optimizer.progress import TerminalReporter
from optimizer.sources.hub_name import HubName, is_hub_name
from optimizer.sources.named_texts import NamedText, named_text
from optimizer.sources.plain_text import plain_text


@dataclass(frozen=True)
class FoundText:
    """`origin`: the file of the hub that it came from, at its commit; None for a file of the user's."""

    path: Path
    origin: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """What a result says of the text."""
        return {"path": str(self.path), "sha256": self.sha256, "origin": self.origin}

    @property
    def sha256(self) -> str:
        """Of the text as it is tokenized, in hex digits. Raises ConfigError where it cannot be read."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"text {self.path} cannot be read: {error.strerror}; give a text file") from None


def find_text(name: str, *, beside: Path | None = None) -> FoundText:
    """A text by its name (see `named_texts`), by hf://datasets/OWNER/REPO/FILE, or by its path; a file of yours wins.

    A parquet file gives the rows of its text column, a .zip the file named behind #.
    Raises ConfigError, DownloadError or StorageError.
    """
    named = NamedText(HubName.parse(name)) if is_hub_name(name) else named_text(name)
    if named is None or (not is_hub_name(name) and Path(name).is_file()):
        return FoundText(find_file(name, beside=beside))
    if named.file.file is None:
        raise ConfigError(f"{name}: which file? Give it as {named.file.base}/FILE")
    return _fetch(named)


def _fetch(named: NamedText) -> FoundText:
    from optimizer.sources.download import fetch  # huggingface_hub: not for commands on local files
    from optimizer.sources.hub import Hub

    hub = Hub.from_environment()
    name = named.file
    reporter = TerminalReporter(Console(stderr=True, highlight=False))
    try:
        path = fetch(hub, [name], reporter)[0]
        commit = path.relative_to(hub.folder(name) / "snapshots").parts[0]
        text = plain_text(path, name.member, hub.records / "texts" / path.resolve().name)
        found = FoundText(text, str(HubName(name.kind, name.repository, name.file, commit, name.member)))
        if named.sha256 is not None and found.sha256 != named.sha256:
            reporter.line(f"[yellow]{found.origin} is not the text published under that name (SHA-256)[/yellow]")
    finally:
        reporter.close()
    return found
