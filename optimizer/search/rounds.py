"""Proposals in rounds: asked with what the rounds before have told, raced against the incumbent of the round's start,
ended in the order of their numbers. So the trials do not depend on how many are evaluated at a time.

Where a round began is kept with the study: a search that was killed in its middle finds the round again, asks for what
was not asked yet, and ends it as it would have ended.
"""

from collections.abc import Callable, Sequence

from optimizer.recipes.recipe import Recipe
from optimizer.search.asking import Asking
from optimizer.search.budget import Budget
from optimizer.search.crew import in_parallel
from optimizer.search.facts import Facts
from optimizer.search.leader import Leader
from optimizer.search.scoring import Scorer
from optimizer.search.started import RacedTrial, StartedTrial
from optimizer.search.trial_keeping import TrialKeeper
from optimizer.store import Store, TrialRecord

ROUND = "round"
"""Key of a study's progress: the first trial of the round under way, by the budget's bytes."""


class Rounds:
    """`propose` asks for one more proposal and starts it."""

    def __init__(
        self,
        size: int,
        budget: Budget,
        facts: Facts,
        keeper: TrialKeeper,
        asking: Asking,
        leader: Leader,
        scorer: Scorer,
        propose: Callable[[], StartedTrial],
    ) -> None:
        self.size = size
        self._key = str(budget.n_bytes)
        self._facts = facts
        self._keeper, self._asking, self._leader, self._scorer = keeper, asking, leader, scorer
        self._propose = propose

    @property
    def first(self) -> int | None:
        """Number of the first trial of the round that was under way last; None before any."""
        found: int | None = (self._facts.kept(ROUND) or {}).get(self._key)
        return found

    def run(self, size: int, begun: Sequence[TrialRecord], store: Store) -> list[TrialRecord]:
        """A round of `size` proposals; `begun`: those that an earlier run has made, ended or not."""
        members = [
            StartedTrial(
                trial, Recipe(store.recipe(trial.recipe_id).tensor_types), self._leader.incumbent,
                self._asking.add_pending(trial),
            )
            for trial in begun
        ]  # fmt: skip
        while len(members) < size:
            members.append(self._propose())
            if len(members) == 1:
                self._facts.keep(ROUND, {**(self._facts.kept(ROUND) or {}), self._key: members[0].trial.number})
        raced = in_parallel(self._scorer, members, self._race)
        return [self._end(*each) for each in zip(members, raced, strict=True)]

    def _race(self, member: StartedTrial) -> RacedTrial | None:
        return self._keeper.race(member) if member.trial.state == "running" else None

    def _end(self, member: StartedTrial, raced: RacedTrial | None) -> TrialRecord:
        if raced is None:
            ended = member.trial
            self._keeper.take(ended, self._keeper.measure_again(ended))
        else:
            ended = self._keeper.end(member, raced)
        if member.asked is not None:
            self._asking.tell(member.asked, ended)
        return ended
