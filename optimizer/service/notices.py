"""What is worth a word to somebody who is not looking: a study finished, failed, or has a new best trial."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from optimizer.errors import ConfigError
from optimizer.text_files import write_text

NoticeKind = Literal["finished", "failed", "best"]
KINDS: tuple[str, ...] = get_args(NoticeKind)
DEFAULT_KINDS = ("finished", "failed")


@dataclass(frozen=True)
class Notice:
    """`facts`: of `status --json`, for programs."""

    kind: str
    study: str
    text: str
    facts: Mapping[str, Any]


def parse_kinds(text: str) -> tuple[str, ...]:
    """`finished,best` as a tuple. Raises ConfigError."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    strange = [each for each in found if each not in KINDS]
    if strange or not found:
        raise ConfigError(f"notify on {text!r}: known are {', '.join(KINDS)}, separated by commas")
    return found


class Seen:
    """What has been told before; kept in a file, so that what happens while no service runs is told by the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        try:
            self._known = dict(json.loads(path.read_text(encoding="utf-8")))
            self._is_new = False
        except (OSError, ValueError):
            self._is_new = True

    def news(self, views: Iterable[Mapping[str, Any]]) -> list[Notice]:
        """What is new since the last call. At the very first one nothing is: what is there is old."""
        found: list[Notice] = []
        now: dict[str, list[Any]] = {}
        for view in views:
            name, state, best = str(view["study"]), str(view["state"]), view["best"]
            number = None if best is None else best["trial"]
            before = self._known.get(name, [None, None])
            now[name] = [state, number]
            if self._is_new:
                continue
            if state != before[0] and state in ("finished", "failed"):
                found.append(Notice(state, name, _text(state, view), _facts(view)))
            elif number is not None and number != before[1]:
                found.append(Notice("best", name, _text("best", view), _facts(view)))
        self._is_new = False
        if now != self._known:
            self._known = now
            write_text(self._path, json.dumps(now))
        return found


def _text(kind: str, view: Mapping[str, Any]) -> str:
    name, best = view["study"], view["best"]
    if kind == "failed":
        why = (view["job"] or {}).get("error") or view["phase"] or "its log says why"
        return f"layerquant: study {name} failed: {why}"
    shown = "" if best is None else f"trial {best['trial']}, KLD {best['mean_kld']:.6f}, {best['size_bytes']:,} bytes"
    if kind == "finished":
        return f"layerquant: study {name} is finished" + (f"; best is {shown}" if shown else "")
    return f"layerquant: study {name} has a new best: {shown}"


def _facts(view: Mapping[str, Any]) -> dict[str, Any]:
    facts = {key: view[key] for key in ("study", "state", "phase", "trials", "target_trials", "tokens_evaluated")}
    best = view["best"]
    keys = ("trial", "name", "size_bytes", "mean_kld", "mean_kld_standard_error", "perplexity")
    return facts | {"best": None if best is None else {key: best[key] for key in keys}}
