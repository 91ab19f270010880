"""What a user writes for a file of the Hugging Face hub: hf://OWNER/REPO[/FILE][@REVISION], for datasets hf://datasets/…"""

import re
from dataclasses import dataclass, replace
from typing import Literal, Self

from optimizer.errors import ConfigError

SCHEME = "hf://"
DEFAULT_REVISION = "main"

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SPECIAL_REVISION = re.compile(r"(refs/(?:pr|convert)/[^/]+)(?:/(.+))?")


@dataclass(frozen=True)
class HubName:
    """`file`: path inside the repository, None where layerquant is to choose; `member`: a file inside that archive."""

    kind: Literal["model", "dataset"]
    repository: str
    file: str | None = None
    revision: str = DEFAULT_REVISION
    member: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Also understands the hub's own form, which has the revision behind the repository (OWNER/REPO@REVISION/FILE).

        Raises ConfigError where the text is neither.
        """
        rest, _, member = text.removeprefix(SCHEME).partition("#")
        kind: Literal["model", "dataset"] = "dataset" if rest.startswith("datasets/") else "model"
        rest = rest.removeprefix("datasets/").removeprefix("models/")
        owner, _, rest = rest.partition("/")
        repository, separator, rest = _split_first(rest)
        if separator == "@":
            special = _SPECIAL_REVISION.fullmatch(rest)
            revision, file = special.groups() if special else _cut(rest)
        else:
            file, at, revision = rest.rpartition("@")
            file, revision = (file, revision) if at else (rest, DEFAULT_REVISION)
        parts = (file or "").split("/")
        names_fit = _PART.fullmatch(owner) and _PART.fullmatch(repository)
        if not names_fit or not revision or any(part in (".", "..") for part in parts) or "" in parts[:-1]:
            raise ConfigError(
                f"{text}: no name of a file on the hub; write {SCHEME}OWNER/REPO, {SCHEME}OWNER/REPO/FILE or "
                f"{SCHEME}datasets/OWNER/REPO/FILE, with @REVISION at the end for another than {DEFAULT_REVISION}"
            )
        return cls(kind, f"{owner}/{repository}", file or None, revision, member or None)

    def with_file(self, file: str) -> Self:
        return replace(self, file=file)

    @property
    def base(self) -> str:
        """The repository alone, as a user would write it."""
        return f"{SCHEME}{'datasets/' if self.kind == 'dataset' else ''}{self.repository}"

    @property
    def page(self) -> str:
        """The repository's path on the hub's web site."""
        return self.base.removeprefix(SCHEME)

    def __str__(self) -> str:
        revision = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        file = f"/{self.file}" if self.file else ""
        return f"{self.base}{file}{revision}" + (f"#{self.member}" if self.member else "")


def is_hub_name(text: str) -> bool:
    return text.startswith(SCHEME)


def _split_first(text: str) -> tuple[str, str, str]:
    """What comes before the first / or @, which of them it is, and the rest."""
    match = re.search(r"[/@]", text)
    return (text, "", "") if match is None else (text[: match.start()], match[0], text[match.end() :])


def _cut(text: str) -> tuple[str, str]:
    first, _, rest = text.partition("/")
    return first, rest
