"""What the API takes and answers of runs; see `shapes`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from optimizer.service.run_parameters import RunCommand

MAX_WORDS, MAX_WORD = 200, 100_000


class NewRun(BaseModel):
    """A command and its words, as behind `layerquant COMMAND`; files by their names in the service's folders."""

    model_config = ConfigDict(extra="forbid")
    command: RunCommand
    words: Annotated[list[Annotated[str, Field(max_length=MAX_WORD)]], Field(max_length=MAX_WORDS)]


class RunFile(BaseModel):
    name: str
    size_bytes: int


class Run(BaseModel):
    """A command that the service runs as a process of its own. Times are seconds since 1970.

    `exit_code` is the command's; null, too, where it ended while no service was running. `files` are those that it
    wrote, once it has ended well.
    """

    id: int
    state: Literal["queued", "running", "ended"]
    command: str
    submitted_at: float
    started_at: float | None
    stopped_at: float | None
    ended_at: float | None
    exit_code: int | None
    error: str | None
    files: list[RunFile]


class Runs(BaseModel):
    runs: list[Run]


class RunOutput(BaseModel):
    """`next`: where to read on. No text and a run that has ended: that was all."""

    text: str
    next: int


class RunDeleted(BaseModel):
    deleted: int
