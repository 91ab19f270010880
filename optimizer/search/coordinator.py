"""The trials of one budget: the only writer of its study, and the only Optuna client.

SQL is the truth. The loop asks what is known already, so a search that was killed anywhere goes on where it was:
evaluations are found in the store, interrupted trials start again under their own number, and proposals depend on the
seed, the trial's number and the trials before it alone. Where several trials are at work at a time, which trials those
were depends on how long each took, unless they are made in rounds (`rounds`).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from optimizer.recipes.recipe import Recipe
from optimizer.search.asking import Asking
from optimizer.search.baselines import Baseline
from optimizer.search.budget import Budget
from optimizer.search.context import Limits, SearchContext
from optimizer.search.crew import MOST, Crew
from optimizer.search.finals import Finals
from optimizer.search.gate import Gate
from optimizer.search.leader import Leader
from optimizer.search.leftover import keep_leftover
from optimizer.search.measuring import Measurer
from optimizer.search.prior import Prior
from optimizer.search.problem import SearchProblem
from optimizer.search.prune_sets import PruneSet
from optimizer.search.prune_trials import PruneStage
from optimizer.search.rounds import Rounds
from optimizer.search.samplers import MAKERS, ONE_SHOT
from optimizer.search.started import RacedTrial, StartedTrial
from optimizer.search.trial_keeping import TrialKeeper
from optimizer.store import InterruptedTrial, TrialRecord


class TrialLoop:
    """The trials of one budget: baselines first, then proposals, each raced against the incumbent."""

    def __init__(
        self,
        context: SearchContext,
        measurer: Measurer,
        budget: Budget,
        prior: Prior | None,
        notify: Callable[[], None],
        limits: Limits,
        errors: Mapping[tuple[str, str], float] | None = None,
        gate: Gate | None = None,
        prune_sets: Sequence[PruneSet] = (),
        finals: Finals | None = None,
    ) -> None:
        """notify, errors: see TrialKeeper, SearchProblem. prune_sets: layers to try without, at the end."""
        config = context.plan.config
        self._limits = limits
        self._proposed = 0
        self._context = context
        self._scorer = measurer.scorer
        self._budget = budget
        self._target = config.trials
        self._leader = Leader(gate, context.plan.rivals_only, all_answer=config.objective != "kld", finals=finals)
        early, in_rounds = gate is not None or finals is not None, config.execution.round is not None
        self._keeper = TrialKeeper(
            context, measurer, budget, self._leader, notify, asks_early=early, in_rounds=in_rounds
        )
        problem = SearchProblem(context.plan.space, budget.n_bytes, context.plan.parameters, config.seed, prior, errors)
        proposer = MAKERS[config.sampler](problem)
        self._proposer = proposer
        self._asking = Asking(context.plan.space, proposer, config.seed)
        self._prune = PruneStage(prune_sets, problem, proposer, context.plan.sizes)
        self._rounds = None
        if config.execution.round is not None:
            size = 1 if config.sampler in ONE_SHOT else config.execution.round
            self._rounds = Rounds(
                size, budget, context.reporter, self._keeper, self._asking, self._leader, self._scorer, self._propose
            )

    def run(self, interrupted: Sequence[InterruptedTrial]) -> None:
        """Until `trials` complete and pruned ones are there, or time is out. `interrupted` ones run again."""
        self._context.reporter.phase(f"search at {self._budget.text}", self._target)
        first = self._rounds.first if self._rounds is not None else None
        again = [each for each in interrupted if not self._is_of_round(each.trial, first)]
        tried = self._replay({each.trial.number for each in again}, first)
        waiting = [StartedTrial(each.trial, Recipe(each.recipe.tensor_types), None) for each in again]
        self._work(lambda _: self._rerun(waiting, tried))
        baselines = [each for each in self._context.plan.baselines[self._budget] if each.name not in tried]
        if self._rounds is None:
            self._work(lambda under_way: self._next_baseline(baselines, under_way) or self._next_proposal(under_way))
        else:
            self._work(lambda under_way: self._next_baseline(baselines, under_way))
            self._run_rounds(self._rounds, first)
        self._run_pruned()
        self._asking.catch_up()
        keep_leftover(self._context, self._budget, self._proposer, self._leader)

    def _work(self, begin: Callable[[int], StartedTrial | None]) -> None:
        """Outside of rounds one after another where there are rounds: each races whoever leads when it starts."""
        most = MOST if self._rounds is None else 1
        Crew(self._scorer, begin, self._keeper.race, self._end, most=most).run()

    def _end(self, started: StartedTrial, raced: RacedTrial) -> StartedTrial | None:
        if self._keeper.asks_again(raced):
            return replace(started, tokens=raced.outcome.tokens_spent or 0)
        ended = self._keeper.end(started, raced)
        if started.asked is not None:
            self._asking.tell(started.asked, ended)
        elif not self._prune.takes(ended):
            self._asking.add(ended)
        self._show()
        return None

    def _show(self) -> None:
        self._context.reporter.trials(self._keeper.counted, self._leader.standing())

    def _room(self, under_way: int) -> int:
        """How many more trials may begin."""
        return self._target - self._keeper.counted - under_way

    @property
    def _has_its_answer(self) -> bool:
        """A one-shot sampler has proposed its one recipe."""
        return self._context.plan.config.sampler in ONE_SHOT and self._proposed > 0

    @property
    def _is_spent(self) -> bool:
        deadline, tokens = self._limits.deadline, self._limits.tokens
        if deadline is not None and time.monotonic() >= deadline:
            return True
        return tokens is not None and self._context.store.study(self._context.study.id).tokens_evaluated >= tokens

    def _of_budget(self) -> list[TrialRecord]:
        store, study = self._context.store, self._context.study
        return [each for each in store.trials(study.id) if each.budget_bytes == self._budget.n_bytes]

    def _is_of_round(self, trial: TrialRecord, first: int | None) -> bool:
        own = trial.name is None and not self._prune.takes(trial)
        return first is not None and own and trial.number >= first

    def _replay(self, exclude: set[int], round_first: int | None) -> set[str | None]:
        """Show Optuna and the race every finished trial before the round under way; returns the names of baselines."""
        names: set[str | None] = set()
        for trial in self._of_budget():
            if trial.number in exclude or self._is_of_round(trial, round_first):
                continue
            self._keeper.take(trial, self._keeper.measure_again(trial))
            if not self._prune.takes(trial):
                self._asking.add(trial)
                self._proposed += trial.name is None
            names.add(trial.name)
        return names

    def _rerun(self, waiting: list[StartedTrial], tried: set[str | None]) -> StartedTrial | None:
        if not waiting:
            return None
        self._context.check_stop()
        again = waiting.pop(0)
        if not self._prune.takes(again.trial):
            self._proposed += again.trial.name is None
            tried.add(again.trial.name)
        return StartedTrial(again.trial, again.recipe, self._leader.incumbent)

    def _next_baseline(self, waiting: list[Baseline], under_way: int) -> StartedTrial | None:
        if not waiting or self._room(under_way) <= 0:
            return None
        if len(waiting) > 1:
            self._scorer.prefetch(waiting[1].recipe)
        self._context.check_stop()
        each = waiting.pop(0)
        new = self._asking.baseline(each.name, each.recipe, each.n_bytes)
        trial = self._keeper.start(each.recipe, new.params, each.origin, each.n_bytes, name=each.name)
        return StartedTrial(trial, each.recipe, self._leader.incumbent, new.asked)

    def _may_propose(self, under_way: int = 0) -> bool:
        return self._room(under_way) > self._prune.n_left and not self._is_spent and not self._has_its_answer

    def _next_proposal(self, under_way: int) -> StartedTrial | None:
        return self._propose() if self._may_propose(under_way) else None

    def _propose(self) -> StartedTrial:
        self._context.check_stop()
        new = self._asking.proposal()
        assert new.proposal is not None
        self._proposed += 1
        trial = self._keeper.start(new.recipe, new.params, new.proposal.origin, new.n_bytes, proposal=new.proposal)
        return StartedTrial(trial, new.recipe, self._leader.incumbent, new.asked, new.proposal.share)

    def _run_rounds(self, rounds: Rounds, first: int | None) -> None:
        begun = [each for each in self._of_budget() if self._is_of_round(each, first)]
        self._proposed += len(begun)
        while begun or self._may_propose():
            self._context.check_stop()
            size = min(rounds.size, self._room(0) - self._prune.n_left)
            rounds.run(max(size, len(begun)), begun, self._context.store)
            begun = []
            self._show()

    def _run_pruned(self) -> None:
        if self._room(0) <= 0 or not self._prune.n_left:
            return
        self._asking.catch_up()
        proposals = self._prune.proposals()

        def begin(under_way: int) -> StartedTrial | None:
            each = next(proposals, None) if self._room(under_way) > 0 else None
            if each is None:
                return None
            self._context.check_stop()
            trial = self._keeper.start(
                each.recipe, each.params, each.origin, each.n_bytes, predicted_kld=each.predicted_kld
            )
            return StartedTrial(trial, each.recipe, self._leader.incumbent)

        self._work(begin)
