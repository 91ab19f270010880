"""Sends notices to a webhook and to a command, from a thread of its own: no search ever waits for it or fails by it."""

import html
import json
import logging
import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.header import Header
from pathlib import Path
from typing import Any

import httpx2

from optimizer.errors import ConfigError, LayerquantError
from optimizer.service.notices import DEFAULT_KINDS, Notice, Seen, parse_kinds

LOGGER = logging.getLogger("layerquant.service")
WEBHOOK, FORM, BEARER = "LAYERQUANT_NOTIFY_WEBHOOK", "LAYERQUANT_NOTIFY_FORM", "LAYERQUANT_NOTIFY_BEARER"
FORMS = ("json", "ntfy", "discord", "slack")
LOOK_SECONDS = 5.0
WAITS = (2.0, 10.0, 60.0, 300.0)
"""Seconds before each further try."""
TIMEOUT_SECONDS = 15.0
COMMAND_SECONDS = 60.0
DISCORD_MOST = 2000
"""Characters of a message, as Discord allows."""
NTFY_MOST = 4096
"""Bytes of a message; ntfy makes a longer one a file."""


@dataclass(frozen=True)
class NotifySettings:
    """`webhook` and `bearer` are secrets: they come from the environment alone and are never shown."""

    webhook: str | None = field(default=None, repr=False)
    form: str = "json"
    bearer: str | None = field(default=None, repr=False)
    command: tuple[str, ...] = ()
    kinds: tuple[str, ...] = DEFAULT_KINDS

    @classmethod
    def of(cls, environment: Mapping[str, str], command: str | None, kinds: str | None) -> "NotifySettings":
        """Raises ConfigError."""
        webhook, form = environment.get(WEBHOOK), environment.get(FORM, "json")
        if webhook is not None and not webhook.startswith(("http://", "https://")):
            raise ConfigError(f"{WEBHOOK} is no web address; write https://…")
        if form not in FORMS:
            raise ConfigError(f"{FORM}={form}: known are {', '.join(FORMS)}")
        try:
            words = tuple(shlex.split(command or ""))
        except ValueError as error:
            raise ConfigError(f"--notify-command {command!r}: {error}") from None
        on = DEFAULT_KINDS if kinds is None else parse_kinds(kinds)
        return cls(webhook, form, environment.get(BEARER), words, on)


class Notifier:
    """`views`: the studies as the API shows them."""

    def __init__(
        self, settings: NotifySettings, views: Callable[[], Sequence[Mapping[str, Any]]], kept: Path,
        *, waits: Sequence[float] = WAITS,
    ) -> None:  # fmt: skip
        self._settings, self._views, self._seen, self._waits = settings, views, Seen(kept), waits
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="notifier", daemon=True)

    def start(self) -> None:
        if self._settings.webhook or self._settings.command:
            self._thread.start()

    def close(self) -> None:
        """Waits for the delivery under way at most."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT_SECONDS)

    def look(self) -> None:
        """Tells what is new."""
        for notice in self._seen.news(self._views()):
            if notice.kind in self._settings.kinds:
                self.deliver(notice)

    def deliver(self, notice: Notice) -> None:
        """To the webhook and to the command; each is tried again on its own, and given up with a line in the log."""
        if self._settings.webhook:
            self._try("webhook", lambda: self._post(notice))
        if self._settings.command:
            self._try("command", lambda: self._run(notice))

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                self.look()
            except LayerquantError as error:
                LOGGER.warning("notifications: %s", error)
            self._closing.wait(LOOK_SECONDS)

    def _try(self, way: str, send: Callable[[], None]) -> None:
        for wait in (*self._waits, None):
            try:
                send()
                return
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, subprocess.SubprocessError) as error:
                why = type(error).__name__  # its text may hold the address, which is a secret
            if wait is None or self._closing.wait(wait):
                LOGGER.warning("a notification by %s was given up: %s", way, why)
                return

    def _post(self, notice: Notice) -> None:
        body, headers = message(notice, self._settings.form)
        if self._settings.bearer:
            headers["Authorization"] = f"Bearer {self._settings.bearer}"
        answer = httpx2.post(self._settings.webhook or "", content=body, headers=headers, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()

    def _run(self, notice: Notice) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "LAYERQUANT_TOKEN"}
        subprocess.run(
            list(self._settings.command), input=message(notice, "json")[0], env=environment, check=True,
            timeout=COMMAND_SECONDS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def message(notice: Notice, form: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers as the receiver wants them."""
    if form == "ntfy":
        tags = {"finished": "white_check_mark", "failed": "x", "best": "chart_with_downwards_trend"}
        title = Header(f"layerquant: {notice.study}", None if notice.study.isascii() else "utf-8", maxlinelen=10**6)
        headers = {"Title": title.encode()}  # RFC 2047, for headers are no place for other letters
        headers |= {"Tags": tags[notice.kind]} | ({"Priority": "high"} if notice.kind == "failed" else {})
        return notice.text.encode()[:NTFY_MOST].decode(errors="ignore").encode(), headers
    if form == "discord":
        content: dict[str, Any] = {"content": notice.text[:DISCORD_MOST], "allowed_mentions": {"parse": []}}
    elif form == "slack":  # there <!channel> would call everybody
        content = {"text": html.escape(notice.text, quote=False)}
    else:
        content = {"event": notice.kind, "text": notice.text, **notice.facts}
    return json.dumps(content).encode(), {"Content-Type": "application/json"}
