"""The hub as the environment names it: what a repository holds, what a file must be, and what is cached of it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import FileMetadataError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers

from optimizer.sources.hub_name import HubName
from optimizer.sources.problems import explained

_SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RemoteFile:
    """`etag`: the blob's name in the cache; of a large file its SHA-256. `xet`: huggingface_hub has a faster road."""

    name: HubName
    url: str
    commit: str
    etag: str
    size: int | None
    xet: bool

    @property
    def sha256(self) -> str | None:
        return self.etag if _SHA256.fullmatch(self.etag) else None


@dataclass(frozen=True)
class Hub:
    """`cache`: the folder that all programs of the hub share. `records`: layerquant's own folder beside it."""

    endpoint: str
    cache: Path
    records: Path
    offline: bool

    @classmethod
    def from_environment(cls) -> Self:
        """HF_ENDPOINT, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE as they are now; HF_TOKEN is read at each request."""
        home = Path(os.environ.get("HF_HOME") or constants.HF_HOME).expanduser()
        return cls(
            endpoint=(os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/"),
            cache=Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser(),
            records=home / "assets" / "layerquant",
            offline=constants.is_offline_mode() or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES"),
        )

    def files(self, name: HubName) -> list[str]:
        """Paths of all files of a repository at a revision."""
        with explained(name, self.endpoint):
            self._check_online()
            api = HfApi(endpoint=self.endpoint)
            look_up = api.model_info if name.kind == "model" else api.dataset_info
            info = look_up(name.repository, revision=name.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            if info.siblings is None:  # a hub that does not list files with the repository
                return api.list_repo_files(name.repository, revision=name.revision, repo_type=name.kind)
            return [each.rfilename for each in info.siblings]

    def look_up(self, name: HubName) -> RemoteFile:
        """What the hub says of one file."""
        assert name.file is not None
        url = hf_hub_url(
            name.repository, name.file, repo_type=name.kind, revision=name.revision, endpoint=self.endpoint
        )
        with explained(name, self.endpoint):
            self._check_online()
            found = get_hf_file_metadata(
                url, timeout=constants.HF_HUB_ETAG_TIMEOUT, headers=self.headers, endpoint=self.endpoint
            )
            if found.commit_hash is None or found.etag is None:
                raise FileMetadataError("the answer names no commit or no ETag; is HF_ENDPOINT the address of a hub?")
        return RemoteFile(name, url, found.commit_hash, found.etag, found.size, found.xet_file_data is not None)

    @property
    def headers(self) -> dict[str, str]:
        headers = build_hf_headers(token=None, library_name="layerquant")
        return {**headers, "Accept-Encoding": "identity"}  # a part of a compressed answer could not be continued

    def cached(self, name: HubName) -> Path | None:
        """The file as it was last fetched at this revision."""
        assert name.file is not None
        found = try_to_load_from_cache(
            name.repository, name.file, cache_dir=self.cache, revision=name.revision, repo_type=name.kind
        )
        return Path(found) if isinstance(found, str) else None

    def cached_files(self, name: HubName) -> list[str]:
        """Paths of all files that the cache has of a repository at a revision."""
        folder = self.folder(name)
        reference = folder / "refs" / name.revision
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else name.revision
        snapshot = folder / "snapshots" / commit
        return sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())

    def folder(self, name: HubName) -> Path:
        """Where the cache keeps a repository."""
        return self.cache / f"{name.kind}s--{name.repository.replace('/', '--')}"

    def _check_online(self) -> None:
        if self.offline:
            raise OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
