"""A small client of the service, for the command line's `--server URL`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from optimizer.errors import ConfigError, EngineError, LayerquantError, StorageError, StudyError

TOKEN_VARIABLE = "LAYERQUANT_TOKEN"
TIMEOUT_SECONDS = 120.0
"""Planning a large model takes the service seconds."""


class Client:
    """One service. Every error is one of the project's, with the service's own words."""

    def __init__(self, url: str, *, token: str | None = None, transport: httpx2.BaseTransport | None = None) -> None:
        """Raises ConfigError for an address that is none."""
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"--server {url} is no web address; write one such as http://127.0.0.1:8642")
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(
            base_url=self._url + "/", headers=headers, timeout=TIMEOUT_SECONDS, transport=transport
        )

    @classmethod
    def of_environment(cls, url: str) -> "Client":
        return cls(url, token=os.environ.get(TOKEN_VARIABLE))

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        return self._ask("GET", path, params={key: value for key, value in query.items() if value is not None}).json()

    def text(self, path: str, **query: Any) -> str:
        return self._ask("GET", path, params={key: value for key, value in query.items() if value is not None}).text

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._ask("POST", path, json=dict(body or {})).json()

    def download(self, path: str, output: Path) -> int:
        """A file, written beside and renamed when it is whole. Returns its bytes."""
        beside = output.with_name(f".{output.name}.{uuid4().hex[:8]}")
        try:
            with self._errors(), self._http.stream("GET", path) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _problem(answer)
                with beside.open("wb") as file:
                    for part in answer.iter_bytes(1 << 20):
                        file.write(part)
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(beside, output)
            return output.stat().st_size
        except OSError as error:
            raise StorageError(f"{output} cannot be written: {error.strerror}; name another file with -o") from None
        finally:
            beside.unlink(missing_ok=True)

    def _ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        with self._errors():
            answer = self._http.request(method, path, **options)
        if answer.status_code >= 400:
            raise _problem(answer)
        return answer

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise EngineError(
                f"the service at {self._url} does not answer ({error or type(error).__name__}); "
                "start it there with `layerquant serve`"
            ) from None


def _problem(answer: httpx2.Response) -> LayerquantError:
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"the service answered {answer.status_code}; is there a layerquant service at this address?"
    if answer.status_code == 401:
        detail = f"{detail} (here: the environment's {TOKEN_VARIABLE})"
    return ConfigError(detail) if answer.status_code in (400, 403, 422) else StudyError(detail)
