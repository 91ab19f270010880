"""More text than is bundled: with the little there is, recipes 5 % apart cannot be told apart."""

from itertools import islice
from pathlib import Path

from demo.corpus import documents, join

DOCUMENTS = 3000
"""Some 1,990 chunks of 256 tokens."""


def write_longer_text(folder: Path, split: str, count: int | None = None) -> Path:
    """The documents of `demo/texts/SPLIT.txt` and those that follow in their series, none of them in training."""
    count = count or DOCUMENTS
    path = folder / f"{split}-{count}.txt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(join(list(islice(documents(split), count))), encoding="utf-8")
        beside.replace(path)
    return path
