"""`/api/studies/STUDY/events`: server-sent events, so that a page shows each trial as it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from optimizer.commands.results import trial_object
from optimizer.service.context import Here, Service
from optimizer.service.problems import Refused

router = APIRouter(prefix="/studies/{study}", tags=["events"])
SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15.0


class Watcher:
    """What changed in one study since the last look. Events: `trial`, `best`, `state`, `progress`; data is JSON."""

    def __init__(self, here: Service, study: str, first: int) -> None:
        """first: number of the first trial that is not known yet."""
        self._here, self._study, self._first = here, study, first
        self._seen: dict[str, Any] = {}
        self._states: dict[int, str] = {}

    def look(self) -> list[tuple[str, dict[str, Any], int | None]]:
        """(event, data, id); the id of a trial is the number to go on from."""
        found: list[tuple[str, dict[str, Any], int | None]] = list(self._trials())
        view = self._here.view(self._study)
        job = view["job"] or {}
        shown = {
            "best": view["best"],
            "state": {key: view[key] for key in ("study", "state", "phase", "stop_requested")}
            | {"error": job.get("error")},
            "progress": {
                key: view[key] for key in ("trials", "target_trials", "eta_seconds", "tokens_evaluated", "at_work")
            },
        }
        for event, data in shown.items():
            if data is not None and self._seen.get(event) != data:
                self._seen[event] = data
                found.append((event, data, None))
        return found

    def _trials(self) -> Iterator[tuple[str, dict[str, Any], int | None]]:
        record = self._here.store.find_study(self._study)
        if record is None:
            return
        for trial in self._here.store.trials(record.id, first=self._first):
            if self._states.get(trial.number) != trial.state:
                self._states[trial.number] = trial.state
                data = trial_object(trial)
                del data["layer_types"]
                yield "trial", data, trial.number
        while self._states.get(self._first, "running") != "running":
            del self._states[self._first]
            self._first += 1


@router.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def watch_study(
    study: str, request: Request, here: Here, first: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0
) -> StreamingResponse:
    """Goes on until the reader leaves; trials from number `first` on, or behind the Last-Event-ID of a reader."""
    await run_in_threadpool(here.view, study)
    last = request.headers.get("last-event-id", "")
    start = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else first
    if here.watchers.full:
        raise Refused("too many readers watch already; close a page")
    return StreamingResponse(
        _stream(request, here, Watcher(here, study, start)), media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )  # fmt: skip


async def _stream(request: Request, here: Service, watcher: Watcher) -> AsyncIterator[str]:
    with here.watchers:
        quiet = 0.0
        while not here.watchers.closing and not await request.is_disconnected():
            events = await run_in_threadpool(watcher.look)
            for event, data, number in events:
                identity = "" if number is None else f"id: {number}\n"
                yield f"{identity}event: {event}\ndata: {json.dumps(data)}\n\n"
            quiet = 0.0 if events else quiet + SECONDS
            if quiet >= KEEP_ALIVE_SECONDS:
                quiet = 0.0
                yield ": still here\n\n"
            await asyncio.sleep(SECONDS)
