"""Names of split models, as llama.cpp writes and expects them: NAME-00001-of-00003.gguf."""

import re
from pathlib import Path

from optimizer.errors import GgufError

_SPLIT_NAME = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def split_path(folder: Path, prefix: str, number: int, count: int) -> Path:
    """The path of part `number` (from 0) of `count`."""
    return folder / f"{prefix}-{number + 1:05d}-of-{count:05d}.gguf"


def parts_of(name: str) -> list[str]:
    """Names of all parts of the split model that a path or name is a part of; itself alone where it is none."""
    match = _SPLIT_NAME.fullmatch(name)
    if match is None:
        return [name]
    count = int(match["count"])
    return [f"{match['prefix']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)] or [name]


def sibling_splits(path: Path, count: int) -> tuple[Path, ...]:
    """All parts of the split model that `path` is one of, in order.

    Raises GgufError where the name does not say so, or where a part is missing.
    """
    match = _SPLIT_NAME.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise GgufError(
            f"{path}: one of {count} parts of a split model, but not named like one, so the others cannot be found. "
            f"Rename the parts to NAME-00001-of-{count:05d}.gguf and so on."
        )
    paths = tuple(split_path(path.parent, match["prefix"], number, count) for number in range(count))
    missing = [part.name for part in paths if not part.exists()]
    if missing:
        shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise GgufError(f"{path}: missing split: {shown}, of {count} parts in {path.parent}. Download what is missing.")
    return paths
