"""A hub on this machine: what huggingface_hub asks of the real one, with the faults that tests need."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
_RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_TREE = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)")
_INFO = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+?)(?:/revision/([^/]+))?")


@dataclass
class Repository:
    """`gate`: None, or the X-Error-Code a stranger gets. `token`: who sends it is no stranger."""

    files: dict[str, bytes]
    gate: str | None = None
    token: str | None = None
    large: bool = True
    """Whether files have the SHA-256 of large-file storage as their ETag."""
    xet: bool = False
    siblings: bool = True
    """Whether the repository's own answer lists its files; its tree always does."""


@dataclass
class FakeHub:
    url: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and Range of every request."""
    cut_after: list[int] = field(default_factory=list)
    """The next answers with a file break off after so many bytes, one each."""
    sent: dict[str, bytes] = field(default_factory=dict)
    """File -> what is sent in place of its content."""
    sizes: dict[str, int] = field(default_factory=dict)
    """File -> the size that is claimed for it."""
    status: int | None = None
    """All requests are answered with this status."""

    def add(self, name: str, files: dict[str, bytes], **settings: Any) -> Repository:
        """`name`: OWNER/REPO or datasets/OWNER/REPO."""
        kind = "datasets" if name.startswith("datasets/") else "models"
        made = Repository(files, **settings)
        self.repositories[kind, name.removeprefix("datasets/")] = made
        return made

    def ranges(self) -> list[str | None]:
        """Range of every request for a file's content, in order."""
        return [each[2] for each in self.requests if each[0] == "GET" and "/resolve/" in each[1]]


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if self.hub.status is not None:
            return self._error(self.hub.status, None)
        if match := _RESOLVE.fullmatch(path):
            kind, name, revision, file = "datasets" if match[1] else "models", match[2], match[3], match[4]
            if (repository := self._repository(kind, name, revision)) is not None:
                self._file(repository, file, body)
            return None
        if match := _INFO.fullmatch(path):
            if (repository := self._repository(match[1], match[2], match[3] or "main")) is not None:
                listed = {"siblings": [{"rfilename": each} for each in repository.files]} if repository.siblings else {}
                self._json({"id": match[2], "sha": COMMIT, "private": False, "tags": [], **listed})
            return None
        if match := _TREE.fullmatch(path):
            if (repository := self._repository(*match.groups())) is not None:
                files = repository.files.items()
                self._json([{"type": "file", "path": each, "size": len(held), "oid": ""} for each, held in files])
            return None
        return self._error(404, None)

    def _repository(self, kind: str, name: str, revision: str) -> Repository | None:
        found = self.hub.repositories.get((kind, name))
        known = found is not None and self.headers.get("Authorization") == f"Bearer {found.token}"
        if found is None or (found.gate == "RepoNotFound" and not known):
            self._error(401, "RepoNotFound")
        elif found.gate is not None and not known:
            self._error(403, found.gate)
        elif revision not in ("main", COMMIT):
            self._error(404, "RevisionNotFound")
        else:
            return found
        return None

    def _file(self, repository: Repository, file: str, body: bool) -> None:
        if file not in repository.files:
            return self._error(404, "EntryNotFound")
        content = repository.files[file]
        etag = hashlib.sha256(content).hexdigest() if repository.large else hashlib.sha1(content).hexdigest()
        size = self.hub.sizes.get(file, len(content))
        content = self.hub.sent.get(file, content) if body else content
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = min(int(asked[2]) + 1, len(content)) if asked and asked[2] else len(content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if repository.large:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(size)}
        if repository.xet:
            headers |= {"X-Xet-Hash": etag, "X-Xet-Refresh-Route": f"{self.hub.url}/xet-token"}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        self.send_response(206 if asked else 200)
        part = content[start:end]
        for key, value in {**headers, "Content-Length": str(len(part))}.items():
            self.send_header(key, value)
        self.end_headers()
        if not body:
            return None
        cut = self.hub.cut_after.pop(0) if self.hub.cut_after else None
        self.wfile.write(part if cut is None else part[:cut])
        if cut is not None:
            self.close_connection = True
        return None

    def _json(self, value: Any) -> None:
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _error(self, status: int, code: str | None) -> None:
        self.send_response(status)
        if code is not None:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
