"""Files by names from the service's folders on, as a person would type them there: no page needs a machine's paths."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from optimizer.named_files import BUNDLED
from optimizer.service.places import BUNDLED_FOLDERS, FILES_OF_CONFIG, Places


def short_name(places: Places, name: str) -> str:
    """From one of the folders on, where that means this file and no other; else as it is."""
    path = Path(name)
    if not path.is_absolute():
        return name
    before: list[Path] = []
    for folder in (*places.folders, BUNDLED):
        if path.is_relative_to(folder):
            short = path.relative_to(folder)
            if folder == BUNDLED and short.parts[0] not in BUNDLED_FOLDERS:
                return name
            return name if any((other / short).is_file() for other in before) else short.as_posix()
        before.append(folder)
    return name


def short_settings(places: Places, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a search with every file of the service's folders by its short name."""
    return {
        key: short_name(places, value) if key in FILES_OF_CONFIG and isinstance(value, str) else value
        for key, value in settings.items()
    }


def short_command(words: Iterable[str]) -> str:
    """A command as it is typed in the folder that the service runs in: what lies below it goes by its name there."""
    here = Path.cwd()
    return shlex.join(
        Path(word).relative_to(here).as_posix() if word.startswith("/") and Path(word).is_relative_to(here) else word
        for word in words
    )
