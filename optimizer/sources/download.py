"""Files of the hub into its cache: whole, checked, and continued where a download broke off.

huggingface_hub (2.4) resumes within one call only: what a killed process had fetched is thrown away. So a file comes
into a partial file of ours beside the cache's blobs, through huggingface_hub's own `http_get`, and is moved to its
place after size and SHA-256 are right; `hf_hub_download` then adds the cache's links without fetching anything.
Files with a xet hash are left to huggingface_hub and hf_xet, which are faster on them; HF_HUB_DISABLE_XET=1 turns
that off.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import httpx2
from huggingface_hub import hf_hub_download
from huggingface_hub.file_download import http_get, is_xet_available
from huggingface_hub.utils import WeakFileLock, logging

from optimizer.errors import DownloadError, StorageError
from optimizer.progress import Reporter
from optimizer.sources.download_progress import progress_bar
from optimizer.sources.hub import COMMIT, Hub, RemoteFile
from optimizer.sources.hub_name import HubName
from optimizer.sources.problems import explained
from optimizer.sources.verification import digest_of, is_verified, remember, verify_cached

PARTIAL = ".layerquant.incomplete"
ATTEMPTS_WITHOUT_PROGRESS = 5


def fetch(hub: Hub, names: Sequence[HubName], reporter: Reporter) -> list[Path]:
    """The files in the cache, those that were missing fetched; all of them are looked up before the first is fetched.

    Where the hub cannot be asked, what is cached serves. Raises ConfigError, DownloadError or StorageError.
    """
    logging.set_verbosity(logging.ERROR)  # what goes wrong is said once, by the errors of this project
    found: dict[HubName, Path | RemoteFile] = {}
    unreachable = False
    for name in names:
        cached = hub.cached(name)
        if cached is not None and (unreachable or hub.offline or COMMIT.fullmatch(name.revision)):
            found[name] = cached
            continue
        try:
            remote = hub.look_up(name)
        except DownloadError:
            if cached is None:
                raise
            unreachable = True
            reporter.line(f"[yellow]the hub cannot be reached; {cached.name} is used as it was last fetched[/yellow]")
            found[name] = cached
            continue
        cached = hub.cached(HubName(name.kind, name.repository, name.file, remote.commit))
        found[name] = cached if cached is not None else remote
    _check_space(hub, [each for each in found.values() if isinstance(each, RemoteFile)])
    return [
        _fetch_one(hub, each, reporter) if isinstance(each, RemoteFile) else _checked(hub, each, reporter)
        for each in found.values()
    ]


def _checked(hub: Hub, path: Path, reporter: Reporter) -> Path:
    verify_cached(hub, path, reporter)
    return path


def _fetch_one(hub: Hub, remote: RemoteFile, reporter: Reporter) -> Path:
    name = remote.name
    assert name.file is not None
    blob = hub.folder(name) / "blobs" / remote.etag
    with explained(name, hub.endpoint):
        if not (remote.xet and is_xet_available()):
            lock = hub.cache / ".locks" / hub.folder(name).name / f"{remote.etag}.lock"
            for folder in (lock.parent, blob.parent):
                folder.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock):
                if not blob.exists():
                    _fill(hub, remote, blob, reporter)
        else:
            reporter.phase(f"downloading {Path(name.file).name}", remote.size or 0)
        path = Path(
            hf_hub_download(
                name.repository, name.file, repo_type=name.kind, revision=name.revision, cache_dir=hub.cache,
                endpoint=hub.endpoint, library_name="layerquant", tqdm_class=progress_bar(reporter),
            )
        )  # fmt: skip
    if remote.size is not None and path.stat().st_size != remote.size:
        _refuse(path.resolve(), remote, f"it has {path.stat().st_size:,} bytes, the hub says {remote.size:,}")
    verify_cached(hub, path, reporter)
    return path


def _fill(hub: Hub, remote: RemoteFile, blob: Path, reporter: Reporter) -> None:
    """Fetch what is missing of the partial file, check it, and move it to its place."""
    partial = blob.with_name(blob.name + PARTIAL)
    reporter.phase(f"downloading {Path(remote.name.file or '').name}", remote.size or 0)
    _continue(hub, remote, partial, reporter)
    size = partial.stat().st_size
    if remote.size is not None and size != remote.size:
        _refuse(partial, remote, f"it has {size:,} bytes, the hub says {remote.size:,}")
    if remote.sha256 is not None:
        found = digest_of(partial, reporter, Path(remote.name.file or "").name)
        if found != remote.sha256:
            _refuse(partial, remote, f"its SHA-256 is {found}, the hub says {remote.sha256}")
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, blob)
    if remote.sha256 is not None and not is_verified(hub, blob):
        remember(hub, blob.resolve())


def _continue(hub: Hub, remote: RemoteFile, partial: Path, reporter: Reporter) -> None:
    partial.touch()
    if remote.size is not None and partial.stat().st_size > remote.size:
        partial.write_bytes(b"")
    attempts = 0
    while True:
        have = partial.stat().st_size
        try:
            with partial.open("r+b") as file:
                file.seek(have)
                http_get(
                    remote.url, file, resume_size=have, headers=hub.headers, expected_size=remote.size,
                    tqdm_class=progress_bar(reporter),
                )  # fmt: skip
            return
        except (httpx2.NetworkError, httpx2.RemoteProtocolError):
            attempts = 0 if partial.stat().st_size > have else attempts + 1
            if attempts >= ATTEMPTS_WITHOUT_PROGRESS:
                raise
        except OSError as error:
            if error.errno is not None or isinstance(error, httpx2.HTTPError):
                raise
            return  # http_get's word for a wrong size, which the caller judges


def _refuse(path: Path, remote: RemoteFile, reason: str) -> None:
    path.unlink(missing_ok=True)
    raise StorageError(
        f"{remote.name} came wrong from {remote.url}: {reason}; it was removed. Try again; should it stay so, the hub "
        "or a proxy on the way is at fault"
    )


def _check_space(hub: Hub, wanted: Sequence[RemoteFile]) -> None:
    """StorageError before anything is fetched, when the disk has no room for all that is missing."""
    needed = 0
    for remote in wanted:
        blob = hub.folder(remote.name) / "blobs" / remote.etag
        partial = blob.with_name(blob.name + PARTIAL)
        there = blob.stat().st_size if blob.exists() else partial.stat().st_size if partial.exists() else 0
        needed += max(0, (remote.size or 0) - there)
    folder = next(each for each in (hub.cache, *hub.cache.absolute().parents) if each.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{wanted[0].name}: {needed / 1e9:.2f} GB are to be fetched, and {hub.cache} has {free / 1e9:.2f} GB free; "
            "free some space, or set HF_HOME to a folder on a larger disk"
        )
