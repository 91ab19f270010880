"""`/api/runs`: eval, quantize, imatrix, probe and prompts check, run on this machine and on its files."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, Response

from optimizer.service.audit import who
from optimizer.service.context import Here
from optimizer.service.job_logs import log_of, output_of
from optimizer.service.jobs import RUNS, JobKind
from optimizer.service.problems import NotFound
from optimizer.service.routes.studies import Stop
from optimizer.service.run_files import find_run, read_said, remove_files, remove_forgotten, run_object, written
from optimizer.service.run_orders import order_run
from optimizer.service.run_shapes import NewRun, Run, RunDeleted, RunOutput, Runs
from optimizer.service.shapes import answers

router = APIRouter(prefix="/runs", tags=["runs"])
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]


@router.get("", **answers(Runs))
def list_runs(here: Here) -> dict[str, Any]:
    """The last ones, in the order in which they were asked for."""
    return {"runs": [run_object(here, job) for job in here.supervisor.jobs() if job.kind in RUNS]}


@router.post("", **answers(Run, 202))
def create_run(body: NewRun, request: Request, here: Here) -> dict[str, Any]:
    """Checks the words and queues the command; one that runs a model takes its turn with the searches."""
    order = order_run(here, body.command, body.words)
    by = who(request)
    here.audit.write(by, "run", command=list(order.arguments))
    with here.launching:
        remove_forgotten(here)
        for name in order.writes:
            (here.outputs / name).parent.mkdir(parents=True, exist_ok=True)
        kind: JobKind = "command" if order.heavy else "check"
        job = here.supervisor.submit(kind, "", order.arguments, by, writes=order.writes)
    return run_object(here, job)


@router.get("/{number}", **answers(Run))
def show_run(number: Number, here: Here) -> dict[str, Any]:
    """One run."""
    return run_object(here, find_run(here, number))


@router.get("/{number}/output", **answers(RunOutput))
def show_output(
    number: Number,
    here: Here,
    stream: Literal["stdout", "stderr"] = "stdout",
    start: Annotated[int, Query(alias="from", ge=0, le=2**53, description="byte to read from")] = 0,
) -> dict[str, Any]:
    """What the command printed, as it grows; progress and errors are on stderr."""
    job = find_run(here, number)
    log = (output_of if stream == "stdout" else log_of)(here.settings.workplace, job)
    text, after = read_said(log, start, ended=job.state == "ended")
    return {"text": text, "next": after}


@router.post("/{number}/stop", **answers(Run))
def stop_run(number: Number, request: Request, here: Here, body: Stop | None = None) -> dict[str, Any]:
    """Ctrl-C; one that waits gives up its place."""
    job, at_once = find_run(here, number), body is not None and body.at_once
    here.audit.write(who(request), "stop run", run=number, at_once=at_once)
    here.supervisor.stop_run(job, at_once=at_once)
    return run_object(here, find_run(here, number))


@router.delete("/{number}", **answers(RunDeleted))
def delete_run(number: Number, request: Request, here: Here) -> dict[str, Any]:
    """A run that has ended, with what it said and the files that it wrote."""
    job = find_run(here, number)
    here.audit.write(who(request), "delete run", run=number)
    here.supervisor.remove_run(job)
    remove_files(here, job)
    return {"deleted": number}


@router.get(
    "/{number}/files/{name:path}",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def download_file(number: Number, name: str, here: Here) -> Response:
    """A file that the run wrote."""
    path = written(here, find_run(here, number)).get(name)
    if path is None:
        raise NotFound(f"run {number} has no file {name:.80}")
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)
