"""Who works on a study: which workers fit it, which are free, and which have a recipe's shards at hand.

A worker is asked what it is when it is first seen. One with another engine than the study's, or without its model, is
refused, and said so once; so is one that a job found unfit. Results of two engines are never mixed.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from evaluators.evaluator import EngineInfo
from optimizer.errors import EngineError
from optimizer.execution.executor import EVALUATE, Executor, describe
from optimizer.execution.locality import Locality
from optimizer.execution.node import WorkerFacts
from optimizer.execution.problems import ClusterAway, WorkerLost
from optimizer.execution.setup import StudySetup
from optimizer.recipes.recipe import Recipe
from optimizer.search.at_work import AtWork
from optimizer.search.identity import show_engine

LOOK_SECONDS = 1.0
NOBODY_SECONDS = 60.0
"""How long workers that fit may be gone, while others are there that do not, before the search gives up."""


class Roster:
    """Safe for several threads. `say`: shows a line to the user. `counted`: is told how many fit, when that changes."""

    def __init__(
        self,
        executor: Executor,
        setup: StudySetup,
        say: Callable[[str], None],
        patience: float = NOBODY_SECONDS,
        counted: Callable[[AtWork], None] = lambda found: None,
    ) -> None:
        self._executor, self._setup, self._say, self._patience = executor, setup, say, patience
        self._changed = threading.Condition()
        self._hosts: dict[str, str] = {}
        self._asked: dict[str, Future[WorkerFacts]] = {}
        self._facts: dict[str, WorkerFacts] = {}
        self._refused: dict[str, str] = {}
        self._busy: Counter[str] = Counter()
        self._looked = -LOOK_SECONDS
        self._engine: EngineInfo | None = None
        self._locality = Locality()
        self._counted, self._told, self._telling = counted, AtWork(0, 0), threading.Lock()

    def look(self) -> None:
        """See who is there, and ask newcomers what they are; at most once a second. Raises ClusterAway."""
        self._look()
        self._count()

    def _look(self) -> None:
        with self._changed:
            if time.monotonic() - self._looked < LOOK_SECONDS:
                return
            self._looked = time.monotonic()
        there = dict(self._executor.workers(EVALUATE))
        with self._changed:
            self._hosts = there
            self._facts = {name: each for name, each in self._facts.items() if name in there}
            self._asked = {name: each for name, each in self._asked.items() if name in there}
            self._refused = {name: each for name, each in self._refused.items() if name in there}
            new = [name for name in there if name not in self._facts and name not in self._asked]
            asked = {name: self._executor.submit(describe, self._setup, worker=name, role=EVALUATE) for name in new}
            self._asked.update(asked)
            self._changed.notify_all()
        for name, future in asked.items():
            future.add_done_callback(partial(self._hear, name))

    def _count(self) -> None:
        """Tell how many fit, where that is not what was told last; one thread does, the others go on."""
        if not self._telling.acquire(blocking=False):
            return
        try:
            with self._changed:
                fit = self._fit()
                found = AtWork(len(fit), len({self._hosts[name] for name in fit}))
            if found != self._told:
                self._counted(found)
                self._told = found
        finally:
            self._telling.release()

    def _hear(self, name: str, future: "Future[WorkerFacts]") -> None:
        with self._changed:
            self._asked.pop(name, None)
            if future.cancelled() or isinstance(future.exception(), WorkerLost | ClusterAway):
                return  # if it is there at the next look, it is asked again
            if future.exception() is not None:
                self._refuse(name, f"it failed when it was asked what it is: {future.exception()}")
                return
            facts = future.result()
            self._facts[name] = facts
            if facts.refusal is not None:
                self._refuse(name, facts.refusal)
            elif self._engine is not None:
                self._compare(name, facts)
            self._changed.notify_all()

    def settle(self) -> dict[str, WorkerFacts]:
        """What the workers are that are there, once one is there at least and all have answered."""
        told = False
        while True:
            self.look()
            with self._changed:
                if self._hosts and not self._asked and set(self._hosts) <= {*self._facts, *self._refused}:
                    return {name: facts for name, facts in self._facts.items() if name not in self._refused}
                if not self._hosts and not told:
                    told = True
                    self._say("[yellow]no worker is there yet; waiting for one (layerquant worker)[/yellow]")
                self._changed.wait(LOOK_SECONDS)

    def choose(self, engine: EngineInfo) -> None:
        """The study's engine from now on; those of another are refused."""
        with self._changed:
            self._engine = engine
            for name, facts in self._facts.items():
                if name not in self._refused:
                    self._compare(name, facts)

    def refuse(self, name: str, reason: str) -> None:
        with self._changed:
            self._refuse(name, reason)

    @property
    def slots(self) -> int:
        with self._changed:
            return len(self._fit())

    @property
    def idle(self) -> int:
        with self._changed:
            return sum(not self._busy[name] for name in self._fit())

    def take(self, recipe: Recipe | None = None) -> str | None:
        """A free worker, the nearest to the recipe's shards; None after a second without one. Raises EngineError when
        all that are there are refused.
        """
        loads = self._executor.load()
        with self._changed:
            free = [name for name in self._fit() if not self._busy[name]]
            if not free:
                self._changed.wait(LOOK_SECONDS)
                return None
            near = {name: self._locality.nearness(self._hosts[name], recipe) for name in free}
            best = max(free, key=lambda name: (-loads.get(name, 0), near[name]))
            self._busy[best] += 1
            if recipe is not None:
                self._locality.note(self._hosts[best], recipe)
            return best

    def lose(self, name: str) -> None:
        """It ended: until the next look shows it again, nobody is sent to it."""
        with self._changed:
            self._hosts.pop(name, None)
            self._facts.pop(name, None)

    def give_back(self, name: str) -> None:
        with self._changed:
            self._busy[name] -= 1
            self._changed.notify_all()

    def note(self, host: str, recipe: Recipe) -> None:
        """The host makes the recipe's shards."""
        with self._changed:
            self._locality.note(host, recipe)

    def host(self, name: str) -> str:
        return self._hosts.get(name, name)

    def check(self, waited: float) -> None:
        """Raises EngineError where nobody fits, and has not for so many seconds."""
        with self._changed:
            if self._refused and not self._fit() and not self._asked and waited >= self._patience:
                raise self.nobody()

    def nobody(self) -> EngineError:
        reasons = "; ".join(f"{self.host(name)}: {reason}" for name, reason in sorted(self._refused.items()))
        wanted = f" with the study's engine, {show_engine(self._engine)}" if self._engine is not None else ""
        return EngineError(
            f"no worker can go on{wanted}. {reasons}. Start a worker that fits, or another study with --study NAME"
        )

    def _fit(self) -> list[str]:
        if self._engine is None:
            return []
        return [name for name in self._facts if name in self._hosts and name not in self._refused]

    def _compare(self, name: str, facts: WorkerFacts) -> None:
        if facts.engine is not None and self._engine is not None and facts.engine.identity != self._engine.identity:
            self._refuse(
                name,
                f"its engine is another ({show_engine(facts.engine)}), and results of two engines do not compare",
            )

    def _refuse(self, name: str, reason: str) -> None:
        if name not in self._refused:
            self._refused[name] = reason
            self._say(f"[yellow]worker {name} on {self.host(name)} is left out: {reason}[/yellow]")
        self._changed.notify_all()
