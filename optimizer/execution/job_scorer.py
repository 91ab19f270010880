"""The scorer behind `--workers` and `--cluster`: every call is a job for a worker, and is given to another when that
one ends with it.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from evaluators.divergence import Score
from evaluators.evaluator import EngineInfo, Progress
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Asked, Generation
from evaluators.noise_floor import NoiseFloor
from evaluators.settings import RuntimeSettings
from optimizer.errors import EngineError, StorageError
from optimizer.execution.executor import EVALUATE, QUANTIZE, Executor, do_job, keep_file
from optimizer.execution.jobs import AnswerJob, CountJob, InfluenceJob, Job, NoiseJob, ReferenceJob, ScoreJob, ShardJob
from optimizer.execution.problems import ClusterAway, FileLacking, Quarantined, WorkerLost, WorkerRefused
from optimizer.execution.roster import Roster
from optimizer.execution.setup import FileName, ReferenceName, StudySetup, digest_of
from optimizer.recipes.recipe import Recipe
from optimizer.search.scoring import MeasuredText

DEATHS = 3
"""Workers that may end with one job before it is given up; one that is started again has another name."""
RECONNECT_SECONDS = 5.0
SETTLING_SECONDS = 60.0
"""Workers leave and come again for a while after their scheduler was away; their ends say nothing about the job."""


class JobScorer:
    """Implements `Scorer`. `say`: shows a line to the user. The setup is final: it names the engine."""

    def __init__(
        self,
        executor: Executor,
        roster: Roster,
        setup: StudySetup,
        engine: EngineInfo,
        say: Callable[[str], None],
    ) -> None:
        self._executor, self._roster, self._setup, self._engine, self._say = executor, roster, setup, engine, say
        self._files = {setup.imatrix.sha256: Path(setup.imatrix.path)} if setup.imatrix else {}
        self._given_up: dict[str, str] = {}
        self._abandoned = threading.Event()
        self._away = threading.Lock()
        self._came_back: float | None = None

    @property
    def settings(self) -> RuntimeSettings:
        return self._setup.settings

    @property
    def slots(self) -> int:
        with suppress(ClusterAway):  # whoever has a job under way waits for it
            self._roster.look()
        return max(1, self._roster.slots)

    @property
    def idle(self) -> int:
        return self._roster.idle

    def engine(self) -> EngineInfo:
        return self._engine

    def count_chunks(self, text: Path) -> int:
        return cast(int, self._do(CountJob(self._text(text))))

    def make_reference(self, text: Path, sha256: str, name: str, chunks: int, progress: Progress | None = None) -> Path:
        """On one worker; the others make their own when they first need it."""
        self._do(ReferenceJob(ReferenceName(name, self._text(text, sha256), chunks)))
        return Path(name)

    def score(
        self, recipe: Recipe, text: MeasuredText, chunks: Sequence[int], progress: Progress | None = None
    ) -> Score:
        return cast(Score, self._do(ScoreJob(recipe, self._reference(text), tuple(chunks)), recipe))

    def noise_floor(self, text: MeasuredText, chunks: Sequence[int]) -> NoiseFloor:
        return cast(NoiseFloor, self._do(NoiseJob(self._reference(text), tuple(chunks))))

    def block_influence(self, text: Path, chunks: int, progress: Progress | None = None) -> tuple[float, ...]:
        return cast(tuple[float, ...], self._do(InfluenceJob(self._text(text), chunks)))

    def generate(
        self,
        recipe: Recipe | None,
        questions: Sequence[AnyQuestion],
        settings: GenerationSettings,
        drafts: Mapping[str, Sequence[int]] | None = None,
        progress: Progress | None = None,
    ) -> Generation:
        asked = tuple(Asked.of(each) for each in questions)
        foretold = None if drafts is None else {name: tuple(map(int, tokens)) for name, tokens in drafts.items()}
        return cast(Generation, self._do(AnswerJob(recipe, asked, settings, foretold), recipe))

    def prefetch(self, recipe: Recipe) -> None:
        """On a machine that offers to quantize; whether it succeeds, the evaluation will tell."""
        try:
            workers = self._executor.workers(QUANTIZE)
            if not workers:
                return
            loads = self._executor.load()
            name = min(workers, key=lambda each: loads.get(each, 0))
            self._executor.submit(do_job, self._setup, ShardJob(recipe), worker=name, role=QUANTIZE)
            self._roster.note(workers[name], recipe)
        except ClusterAway:
            pass

    def abandon(self) -> None:
        self._abandoned.set()
        self._executor.abandon()

    def _text(self, path: Path, sha256: str | None = None) -> FileName:
        name = FileName(sha256 or digest_of(path), str(path.absolute()))
        self._files[name.sha256] = path
        return name

    def _reference(self, text: MeasuredText) -> ReferenceName:
        return ReferenceName(text.reference.name, self._text(text.path, text.sha256), text.n_chunks)

    def _do(self, job: Job, recipe: Recipe | None = None) -> object:
        ended: set[str] = set()
        if recipe is not None and recipe.key in self._given_up:
            raise Quarantined(self._given_up[recipe.key])
        while True:
            try:
                worker = self._take(recipe)
                try:
                    return self._do_on(worker, job)
                except (WorkerRefused, StorageError) as reason:
                    self._roster.refuse(worker, str(reason))
                except WorkerLost as lost:
                    self._roster.lose(worker)
                    if not self._is_settling:
                        ended.add(worker)  # a loss of one worker may be noticed more than once
                    if len(ended) == DEATHS:
                        said = f"given up: {DEATHS} workers ended with it, the last: {lost}"
                        if recipe is not None:
                            self._given_up[recipe.key] = said
                        raise Quarantined(said) from lost
                    self._say(f"[yellow]{lost}; its work is given to another[/yellow]")
                finally:
                    self._roster.give_back(worker)
            except ClusterAway as away:
                self._come_back(away)

    @property
    def _is_settling(self) -> bool:
        return self._came_back is not None and time.monotonic() - self._came_back < SETTLING_SECONDS

    def _do_on(self, worker: str, job: Job) -> object:
        """With the files that it says it lacks."""
        while True:
            try:
                return self._wait(self._executor.submit(do_job, self._setup, job, worker=worker, role=EVALUATE))
            except FileLacking as lacking:
                content = self._files[str(lacking)].read_bytes()
                self._wait(self._executor.submit(keep_file, str(lacking), content, worker=worker, role=EVALUATE))

    def _take(self, recipe: Recipe | None) -> str:
        started, told = time.monotonic(), False
        while True:
            self._check()
            self._roster.look()
            worker = self._roster.take(recipe)
            if worker is not None:
                return worker
            waited = time.monotonic() - started
            if self._roster.slots:
                started = time.monotonic()
                continue
            self._roster.check(waited)
            if waited > 2 * RECONNECT_SECONDS and not told:
                told = True
                self._say("[yellow]no worker is there any more; the search waits for one[/yellow]")

    def _wait(self, future: "Future[Any]") -> object:
        while True:
            try:
                return future.result(timeout=0.5)
            except NotYet:
                if future.done():
                    raise
                self._check()
                self._roster.look()  # it is how a lost worker is noticed

    def _check(self) -> None:
        if self._abandoned.is_set():
            raise EngineError("the search ended while this was under way")

    def _come_back(self, away: ClusterAway) -> None:
        """Until the scheduler answers again; one thread tries, the others wait for it."""
        with self._away:
            try:
                self._executor.workers(EVALUATE)
                self._came_back = time.monotonic()
                return
            except ClusterAway:
                self._say(f"[yellow]{away}; the search waits, nothing is lost[/yellow]")
            while True:
                self._check()
                try:
                    self._executor.reconnect()
                except ClusterAway:
                    self._abandoned.wait(RECONNECT_SECONDS)
                else:
                    self._came_back = time.monotonic()
                    self._say("the scheduler is back")
                    return
