"""Files that a request may name: those in the configured folders, wherever their links lead."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from optimizer.config import SearchConfig
from optimizer.errors import ConfigError
from optimizer.named_files import BUNDLED, find_suite
from optimizer.service.problems import NotFound, Refused
from optimizer.settings import ExecutionSettings
from optimizer.sources.hub_name import is_hub_name
from optimizer.sources.named_texts import named_text

MAX_FILES = 2000
MAX_DEPTH = 4
FILES_OF_CONFIG = ("model", "search_text", "report_text", "imatrix", "imatrix_text", "sensitivities")
_WORDS = frozenset({"auto", "none"})
BUNDLED_FOLDERS = ("demo", "prompts", "configs")


@dataclass(frozen=True)
class Places:
    """`folders`: resolved. What lies beside layerquant itself (its demo, prompts and configs) may be named, too."""

    folders: tuple[Path, ...]

    def resolve(self, name: str) -> Path:
        """A file in one of the folders: by its whole path, or from a folder on.

        What a link leads to must lie in a folder, too; the name is kept, for parts of a split model are found by it.
        Raises Refused for one outside, NotFound where there is none.
        """
        if not name or "\0" in name or len(name) > 4096:
            raise Refused(f"{name!r:.80} is no path")
        given = Path(name)
        places = (*self.folders, *(BUNDLED / each for each in BUNDLED_FOLDERS))
        tried = [given] if given.is_absolute() else [folder / given for folder in (*self.folders, BUNDLED)]
        inside = False
        for path in tried:
            try:
                real = path.resolve()
                if not any(real.is_relative_to(place.resolve()) for place in places):
                    continue
                inside = True
                if real.is_file():
                    return Path(os.path.abspath(path))
            except (OSError, RuntimeError, ValueError):  # too long a name, a ring of links, half a character
                continue
        if inside:
            raise NotFound(f"{name}: no such file in the service's folders")
        raise Refused(f"{name} lies outside the folders of this service; start it with --models FOLDER to open them")

    def files(self, endings: Sequence[str]) -> Iterator[Path]:
        """Files by their endings in the configured folders, few levels deep, in order; links that lead out are not."""
        found = 0
        for folder in self.folders:
            for path in _walk(folder, MAX_DEPTH):
                if path.suffix.lower() not in endings or not path.resolve().is_relative_to(folder):
                    continue
                found += 1
                if found > MAX_FILES:
                    return
                yield path

    def confine(self, config: SearchConfig) -> SearchConfig:
        """The settings with every file by its whole path. Raises Refused where one lies outside."""
        changes: dict[str, object] = {}
        for key in FILES_OF_CONFIG:
            value = getattr(config, key)
            if value is None or value in _WORDS or is_hub_name(value) or (key.endswith("_text") and named_text(value)):
                continue
            changes[key] = str(self.resolve(value))
        if config.prompts is not None and not is_shipped_suite(config.prompts):
            changes["prompts"] = str(self.resolve(config.prompts))
        template = config.generation.chat_template
        if template is not None:
            real = str(self.resolve(template))
            changes["generation"] = config.generation.model_copy(update={"chat_template": real})
        if config.tracking.mlflow not in ("default", "none"):
            raise Refused("tracking.mlflow: a service writes to its own folder; leave it at default, or none")
        if config.execution.model_copy(update={"workers": 1, "round": None}) != ExecutionSettings():
            raise Refused("execution.cluster: a service evaluates on its own (serve --cluster); leave it and tls_… out")
        return config.model_copy(update=changes)


def folders_of(given: Iterable[Path]) -> Places:
    return Places(tuple(folder.resolve() for folder in given))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if depth > 1 and not entry.is_symlink():
                yield from _walk(entry, depth - 1)
        elif entry.is_file():
            yield entry


def is_shipped_suite(name: str) -> bool:
    try:
        return "/" not in name and not name.endswith((".yaml", ".yml")) and find_suite(name).is_file()
    except ConfigError:
        return False
