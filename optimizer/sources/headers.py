"""Headers of models on the hub, without their tensors: enough to plan with, a few MB in place of all."""

import os
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from huggingface_hub import constants
from huggingface_hub.utils import get_session, hf_raise_for_status

from optimizer.errors import GgufError, StorageError
from optimizer.gguf.header import MAX_HEADER_BYTES, read_header
from optimizer.progress import Reporter
from optimizer.sources.hub import Hub, RemoteFile
from optimizer.sources.hub_name import HubName
from optimizer.sources.problems import explained

FIRST_BYTES = 1 << 22
MAGIC = b"GGUF"


def fetch_headers(hub: Hub, names: Sequence[HubName], reporter: Reporter) -> list[Path]:
    """Files that end behind their header, named as on the hub and kept by commit.

    Raises ConfigError, DownloadError, StorageError, or GgufError where a file is no GGUF.
    """
    return [_fetch(hub, hub.look_up(name), reporter) for name in names]


def _fetch(hub: Hub, remote: RemoteFile, reporter: Reporter) -> Path:
    name = remote.name
    path = hub.records / "headers" / hub.folder(name).name / remote.commit / str(name.file)
    if path.exists():
        return path
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    reporter.phase(f"header of {path.name}", FIRST_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        end = _read(hub, remote, beside, reporter)
        with beside.open("r+b") as file:
            file.truncate(end)
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}; set HF_HOME to another folder"
        ) from None
    finally:
        beside.unlink(missing_ok=True)
    return path


def _read(hub: Hub, remote: RemoteFile, path: Path, reporter: Reporter) -> int:
    """Fetch from the start until the header is whole; returns where it ends."""
    wanted, have = FIRST_BYTES, 0
    while True:
        with explained(remote.name, hub.endpoint):
            have = _append(hub, remote, path, have, wanted)
        reporter.advance(min(have, FIRST_BYTES))
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise GgufError(f"{remote.name}: not a GGUF; name another file")
        try:
            return read_header(path).end
        except GgufError as error:
            if have < wanted or wanted >= MAX_HEADER_BYTES:  # the whole file is there, or more than any header takes
                raise GgufError(str(error).replace(str(path), str(remote.name))) from None
        wanted *= 2


def _append(hub: Hub, remote: RemoteFile, path: Path, have: int, wanted: int) -> int:
    headers = {**hub.headers, "Range": f"bytes={have}-{wanted - 1}"}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", remote.url, headers=headers, timeout=timeout) as answer, path.open("ab") as file:
        hf_raise_for_status(answer)
        if answer.status_code == 200:  # a hub that does not send parts starts again from the first byte
            file.truncate(0)
        for piece in answer.iter_bytes():
            file.write(piece[: wanted - file.tell()])
            if file.tell() >= wanted:
                break
        return file.tell()
