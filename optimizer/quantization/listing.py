"""What lies in a bank's folder."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class ListedShard(NamedTuple):
    """`last_use`: nanoseconds since the epoch."""

    path: Path
    n_bytes: int
    last_use: int


def list_shards(root: Path) -> Iterator[ListedShard]:
    """Every shard of a bank; those that another process removes meanwhile may be missing."""
    for folder in root.iterdir():
        if not folder.is_dir():
            continue
        for entry in os.scandir(folder):
            if entry.name.endswith(".gguf"):
                try:
                    found = entry.stat()
                except FileNotFoundError:
                    continue
                yield ListedShard(Path(entry.path), found.st_size, found.st_atime_ns)
