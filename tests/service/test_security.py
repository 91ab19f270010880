"""Each rule of safety, with a request that breaks it."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from optimizer.config import SearchConfig
from optimizer.errors import ConfigError
from optimizer.service.app import make_app
from optimizer.service.places import folders_of
from optimizer.service.problems import NotFound, Refused
from optimizer.service.session import COOKIE, SESSION_SECONDS, is_session, new_session
from optimizer.service.settings import ServiceSettings, read_token

TOKEN = "a-token-of-many-letters"
STOP = "/api/studies/night/stop"
OURS = "http://127.0.0.1:8642"


@pytest.fixture
def guarded(settings: ServiceSettings) -> Iterator[TestClient]:
    """A service that can be reached from elsewhere, and so has a token."""
    app = make_app(replace(settings, host="0.0.0.0", token=TOKEN))
    with TestClient(app, base_url=OURS, follow_redirects=False) as client:
        yield client


def test_another_address_needs_a_token() -> None:
    with pytest.raises(ConfigError, match="token"):
        ServiceSettings(host="0.0.0.0")
    with pytest.raises(ConfigError, match="characters"):
        ServiceSettings(host="0.0.0.0", token="short")
    assert ServiceSettings(host="::1").token is None
    assert ServiceSettings(host="0.0.0.0", token=TOKEN).token == TOKEN


def test_a_token_file_is_nobody_else_s(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(path)
    path.chmod(0o600)
    assert read_token(path) == TOKEN


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "", "[::1"])
def test_a_name_that_leads_here_from_elsewhere(client: TestClient, host: str) -> None:
    assert client.get("/api/studies", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8642", "127.0.0.1", "[::1]:8642", "LOCALHOST"])
def test_our_own_names(client: TestClient, host: str) -> None:
    assert client.get("/api/studies", headers={"host": host}).status_code == 200


def test_a_proxy_s_name(settings: ServiceSettings) -> None:
    with TestClient(make_app(replace(settings, names=("lab.example",))), base_url="http://lab.example") as client:
        assert client.get("/api/studies").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": OURS},
    ],
)
def test_another_site_s_page_changes_nothing(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post(STOP, headers=headers).status_code == 403
    assert client.request("DELETE", "/api/studies/night", headers=headers).status_code == 403
    assert client.get("/api/studies/night").status_code == 200


@pytest.mark.parametrize("headers", [{}, {"origin": OURS}, {"sec-fetch-site": "same-origin"}])
def test_our_own_page_and_programs_may(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post(STOP, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/api/studies", "/metrics", "/docs", "/openapi.json", "/", "/nothing"])
def test_no_token_no_answer(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 401
    assert guarded.get(path, headers={"authorization": f"Bearer {TOKEN}x"}).status_code == 401
    assert guarded.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code in (200, 404)


def test_what_needs_no_token(guarded: TestClient) -> None:
    for path in ("/api/health", "/login", "/static/service.css"):
        assert guarded.get(path).status_code == 200
    assert guarded.get("/", headers={"accept": "text/html"}).headers["location"] == "/login"
    assert guarded.get("/static/../api/studies").status_code in (401, 404)


def test_a_browser_logs_in(guarded: TestClient) -> None:
    wrong = guarded.post("/login", data={"token": "guess"}, headers={"origin": OURS})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    answer = guarded.post("/login", data={"token": TOKEN}, headers={"origin": OURS})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert guarded.get("/api/studies").status_code == 200
    assert guarded.post(STOP).status_code == 403  # a cookie comes along by itself; where from must be said
    assert guarded.post(STOP, headers={"origin": OURS}).status_code == 200


def test_a_session_ends_and_is_of_one_token() -> None:
    made = new_session(TOKEN, now=1000)
    assert is_session(made, TOKEN, now=1001)
    assert not is_session(made, TOKEN, now=1001 + SESSION_SECONDS)
    assert not is_session(made, TOKEN + "x", now=1001)
    ends, _, code = made.partition(".")
    assert not is_session(f"{int(ends) + 9}.{code}", TOKEN, now=1001)
    for broken in ("", ".", "x.y", "٣.y", f"{ends}.ü"):
        assert not is_session(broken, TOKEN, now=1001)


def test_a_broken_cookie_is_no_failure(guarded: TestClient) -> None:
    assert guarded.get("/api/studies", headers=[(b"cookie", f"{COOKIE}=ü; =".encode())]).status_code == 401


def test_every_answer_carries_the_policy(client: TestClient) -> None:
    for path in ("/", "/api/studies", "/api/nothing", "/docs", "/static/service.css"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe-eval" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_a_large_body_is_not_read(client: TestClient) -> None:
    assert client.post("/api/studies", content=b" " * (2 << 20)).status_code == 413
    assert client.post("/api/studies", content=iter([b"{}"])).status_code == 411


def test_paths_stay_inside(tmp_path: Path) -> None:
    inside, outside = tmp_path / "models", tmp_path / "secret"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "x.gguf").touch()
    (inside / "link.gguf").symlink_to(outside / "x.gguf")
    (inside / "folder").symlink_to(outside)
    places = folders_of([inside])
    assert places.resolve("x.gguf") == inside / "x.gguf"
    assert places.resolve(str(inside / "x.gguf")) == inside / "x.gguf"
    for name in ("../secret/x.gguf", "link.gguf", "folder/x.gguf", str(outside / "x.gguf"), "/etc/passwd", "", "a\0b"):
        with pytest.raises(Refused):
            places.resolve(name)
    for name in ("y.gguf", "x" * 300, "\ud800"):
        with pytest.raises((NotFound, Refused)):
            places.resolve(name)
    assert list(places.files((".gguf",))) == [inside / "x.gguf"]


@pytest.mark.parametrize(
    "settings",
    [
        {"search_text": "/etc/passwd"},
        {"imatrix": "../x.dat"},
        {"prompts": "/etc/suite.yaml"},
        {"generation": {"chat_template": "/etc/x.jinja"}},
        {"tracking": {"mlflow": "http://evil.example"}},
    ],
)
def test_no_setting_leads_outside(settings: dict[str, object]) -> None:
    config = SearchConfig.load(None, {"model": "hf://owner/model"} | settings)
    with pytest.raises(Refused):
        folders_of([]).confine(config)


@pytest.mark.parametrize("path", ["/api/plan?model=/etc/passwd", "/api/plan?model=../../etc/passwd"])
def test_a_file_outside_is_not_opened(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 403
    assert "--models" in answer.json()["detail"]


def test_who_did_what_is_kept(client: TestClient, settings: ServiceSettings) -> None:
    client.post(STOP)
    client.delete("/api/studies/night")
    lines = (settings.workplace.studies / "service" / "audit.jsonl").read_text().splitlines()
    kept = [json.loads(line) for line in lines]
    assert [(each["action"], each["study"]) for each in kept] == [("stop", "night"), ("delete", "night")]
    assert all(each["by"] and each["time"] > 0 for each in kept)


def test_nothing_is_done_that_cannot_be_kept(client: TestClient, settings: ServiceSettings) -> None:
    log = settings.workplace.studies / "service" / "audit.jsonl"
    log.mkdir()
    assert client.delete("/api/studies/night").status_code == 503
    assert client.get("/api/studies/night").status_code == 200
    os.rmdir(log)


def test_a_failure_shows_nothing_of_itself(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("inner words")

    monkeypatch.setattr("optimizer.service.context.Service.views", fail)
    with TestClient(make_app(settings), base_url=OURS, raise_server_exceptions=False) as client:
        answer = client.get("/api/studies")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "inner words" not in answer.text
    assert "Traceback" not in answer.text
