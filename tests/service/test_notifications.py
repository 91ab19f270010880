"""Notices: what is told, in whose words, how often it is tried, and that a failure stays its own."""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from email.header import decode_header, make_header
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from optimizer.errors import ConfigError
from optimizer.service.app import make_app
from optimizer.service.notices import Notice, Seen
from optimizer.service.notifier import Notifier, NotifySettings, message
from optimizer.service.settings import ServiceSettings

NOTICE = Notice("finished", "night", "layerquant: study night is finished", {"study": "night"})


def view(state: str, best: int | None = None) -> dict[str, Any]:
    shown = {"trial": best, "name": None, "size_bytes": 1000, "mean_kld": 0.1}
    shown |= {"mean_kld_standard_error": 0.01, "perplexity": 6.0}
    return {
        "study": "night", "state": state, "phase": "search", "trials": {}, "target_trials": 9, "tokens_evaluated": 1,
        "best": None if best is None else shown, "job": {"error": "no memory"},
    }  # fmt: skip


class Receiver(HTTPServer):
    """A webhook that refuses the first `refuse` requests."""

    def __init__(self, refuse: int = 0) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.refuse = refuse
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(503 if len(receiver.got) <= receiver.refuse else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/topic-that-is-secret"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def notifier(folder: Path, settings: NotifySettings, *views: dict[str, Any]) -> Notifier:
    return Notifier(settings, lambda: views, folder / "seen.json", waits=(0.01, 0.01))


def test_only_what_is_new_is_told(tmp_path: Path) -> None:
    seen = Seen(tmp_path / "seen.json")
    assert seen.news([view("finished", 1)]) == []  # it was there before the first service
    seen = Seen(tmp_path / "seen.json")
    assert seen.news([view("finished", 1)]) == []
    assert [each.kind for each in seen.news([view("running", 2)])] == ["best"]
    assert seen.news([view("running", 2)]) == []
    again = Seen(tmp_path / "seen.json")  # a service that comes later tells what happened meanwhile
    told = again.news([view("failed", 2)])
    assert [each.kind for each in told] == ["failed"]
    assert "no memory" in told[0].text


def test_shapes() -> None:
    body, headers = message(NOTICE, "ntfy")
    assert (body, headers["Title"]) == (NOTICE.text.encode(), "layerquant: night")
    assert json.loads(message(NOTICE, "slack")[0]) == {"text": NOTICE.text}
    assert json.loads(message(NOTICE, "discord")[0])["content"] == NOTICE.text
    assert json.loads(message(NOTICE, "json")[0])["event"] == "finished"


def test_what_a_message_says_is_no_markup_and_not_too_long() -> None:
    """Slack reads <!channel> as a call to all; ntfy takes 4,096 bytes and RFC 2047 titles, Discord 2,000 letters."""
    strange = Notice("failed", "nächtlich", "layerquant: <!channel> & ü" + "ü" * 5000, {})
    assert json.loads(message(strange, "slack")[0])["text"].startswith("layerquant: &lt;!channel&gt; &amp; ü")
    body, headers = message(strange, "ntfy")
    assert 4090 < len(body) <= 4096
    assert body.decode().endswith("ü")
    assert headers["Title"].isascii()
    assert str(make_header(decode_header(headers["Title"]))) == "layerquant: nächtlich"
    content = json.loads(message(strange, "discord")[0])
    assert len(content["content"]) == 2000
    assert content["allowed_mentions"] == {"parse": []}


def test_secrets_are_shown_nowhere(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """Neither by any answer, nor in a file of the service, nor in its log, nor to the command that is run."""
    secrets = {"token": "t0ken-of-many-letters", "webhook": "https://ntfy.invalid/s3cret-topic", "bearer": "tk_s3cret"}
    notify = NotifySettings(webhook=secrets["webhook"], bearer=secrets["bearer"])
    app = make_app(replace(settings, token=secrets["token"], notify=notify))
    headers = {"authorization": f"Bearer {secrets['token']}"}
    with TestClient(app, base_url="http://127.0.0.1:8642", headers=headers) as client:
        client.post("/api/studies/night/stop")
        Notifier(notify, lambda: (), settings.workplace.studies / "seen.json", waits=()).deliver(NOTICE)
        paths = [path for path, methods in app.openapi()["paths"].items() if "get" in methods and "{" not in path]
        paths += ["/", "/new", "/docs", "/openapi.json", "/api/studies/night", "/api/studies/night/config"]
        seen = [client.get(path).text for path in paths]
    seen += [path.read_text() for path in (settings.workplace.studies / "service").rglob("*") if path.is_file()]
    assert "given up" in caplog.text
    for secret in secrets.values():
        assert not any(secret in text for text in (*seen, caplog.text, repr(notify)))


def test_a_webhook_that_refuses_is_tried_again(tmp_path: Path, receiver: Receiver) -> None:
    receiver.refuse = 2
    settings = NotifySettings(webhook=receiver.address, form="ntfy", bearer="tk_1")
    notifier(tmp_path, settings).deliver(NOTICE)
    assert len(receiver.got) == 3
    assert receiver.got[-1][0]["authorization"] == "Bearer tk_1"


def test_giving_up_is_a_line_without_the_secret(tmp_path: Path, receiver: Receiver, caplog: Any) -> None:
    receiver.refuse = 99
    notifier(tmp_path, NotifySettings(webhook=receiver.address)).deliver(NOTICE)
    assert len(receiver.got) == 3
    assert "given up" in caplog.text
    assert "secret" not in caplog.text


def test_a_command_gets_json_and_no_shell(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read() + sys.argv[2])"
    command = (sys.executable, "-c", code, str(tmp_path / "out"), "$(id); x")
    notifier(tmp_path, NotifySettings(command=command)).deliver(NOTICE)
    written = (tmp_path / "out").read_text()
    assert json.loads(written.removesuffix("$(id); x"))["study"] == "night"


def test_a_command_that_fails_harms_nobody(tmp_path: Path, caplog: Any) -> None:
    for command in (("/absent/command",), (sys.executable, "-c", "raise SystemExit(3)")):
        notifier(tmp_path, NotifySettings(command=command)).deliver(NOTICE)
    assert caplog.text.count("given up") == 2


def test_only_the_kinds_that_were_asked_for(tmp_path: Path, receiver: Receiver) -> None:
    views = [view("running", 1)]
    settings = NotifySettings(webhook=receiver.address, kinds=("finished",))
    made = Notifier(settings, lambda: views, tmp_path / "seen.json", waits=())
    made.look()
    views[0] = view("running", 2)
    made.look()
    assert receiver.got == []
    views[0] = view("finished", 2)
    made.look()
    assert json.loads(receiver.got[0][1])["event"] == "finished"


@pytest.mark.parametrize(
    ("environment", "command", "kinds"),
    [
        ({"LAYERQUANT_NOTIFY_WEBHOOK": "ntfy.sh/x"}, None, None),
        ({"LAYERQUANT_NOTIFY_FORM": "telegram"}, None, None),
        ({}, "say 'x", None),
        ({}, None, "finished,started"),
    ],
)
def test_bad_settings_are_refused(environment: dict[str, str], command: str | None, kinds: str | None) -> None:
    with pytest.raises(ConfigError):
        NotifySettings.of(environment, command, kinds)
