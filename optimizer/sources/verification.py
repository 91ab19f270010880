"""Whether a cached file is what the hub says it is. A file is read once for it; the answer is kept for as long as the
file stays untouched."""

import hashlib
import json
import re
from pathlib import Path

from optimizer.errors import StorageError
from optimizer.progress import Reporter
from optimizer.sources.hub import Hub
from optimizer.text_files import write_text

PIECE = 1 << 22
_SHA256 = re.compile(r"[0-9a-f]{64}")


def digest_of(path: Path, reporter: Reporter, label: str) -> str:
    """SHA-256 as hex digits."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    reporter.phase(f"checking {label}", total)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            done += len(piece)
            reporter.advance(done)
    return digest.hexdigest()


def verify_cached(hub: Hub, path: Path, reporter: Reporter) -> None:
    """Check a file of the cache against the SHA-256 that its blob is named after; small files have none.

    Raises StorageError, and removes the file, when it is another.
    """
    blob = path.resolve()
    if not _SHA256.fullmatch(blob.name) or is_verified(hub, blob):
        return
    found = digest_of(blob, reporter, path.name)
    if found != blob.name:
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
        raise StorageError(
            f"{path}: its SHA-256 is {found}, not {blob.name}: damaged on disk, and removed; "
            "the same command fetches it again"
        )
    remember(hub, blob)


def is_verified(hub: Hub, blob: Path) -> bool:
    try:
        return bool(json.loads(_record(hub, blob).read_text(encoding="utf-8")) == _state(blob))
    except (OSError, ValueError):
        return False


def remember(hub: Hub, blob: Path) -> None:
    write_text(_record(hub, blob), json.dumps(_state(blob)))


def _record(hub: Hub, blob: Path) -> Path:
    return hub.records / "verified" / f"{blob.name}.json"


def _state(blob: Path) -> dict[str, str | int]:
    status = blob.stat()
    return {"path": str(blob), "size": status.st_size, "modified_ns": status.st_mtime_ns}
