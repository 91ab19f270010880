"""Proposers out of simpler things: a generator that yields proposals and is sent their trials, or one fixed answer."""

from collections.abc import Callable, Generator, Sequence

from optimizer.search.problem import Observation, Proposal, SearchProblem

Search = Generator[Proposal, Observation, None]
"""Yields a proposal, is sent the trial that came of it, and never ends."""
Start = Callable[[SearchProblem, Sequence[Observation]], Search]
"""(problem, baselines told so far) -> a search. It may depend on nothing else, so that a replay repeats it."""


class GeneratorProposer:
    """Runs a search along the trials it is told.

    Told of an own trial that it was not asked for (a killed search tells its history), the generator makes the proposal
    anew, so the cost of a replay is that of proposing.
    """

    def __init__(self, start: Start, problem: SearchProblem) -> None:
        self._start = start
        self._problem = problem
        self._baselines: list[Observation] = []
        self._search: Search | None = None
        self._proposal: Proposal | None = None
        self._answer: Observation | None = None

    def tell(self, observation: Observation, *, own: bool) -> None:
        if own:
            self._advance()
            self._answer = observation
        else:
            self._baselines.append(observation)

    def ask(self, number: int) -> Proposal:
        return self._advance()

    def _advance(self) -> Proposal:
        """The proposal whose trial has not been told; the same until it is."""
        if self._search is None:
            self._search = self._start(self._problem, self._baselines)
            self._proposal = next(self._search)
        elif self._answer is not None:
            self._proposal = self._search.send(self._answer)
            self._answer = None
        if self._proposal is None:
            raise RuntimeError("a search ended; it must go on proposing")
        return self._proposal


class OneShotProposer:
    """One answer, whatever the trials say; asked again, it gives the same one."""

    def __init__(self, answer: Callable[[SearchProblem], Proposal], problem: SearchProblem) -> None:
        self._answer = answer
        self._problem = problem
        self._proposal: Proposal | None = None

    def tell(self, observation: Observation, *, own: bool) -> None:
        """Nothing is learnt."""

    def ask(self, number: int) -> Proposal:
        if self._proposal is None:
            self._proposal = self._answer(self._problem)
        return self._proposal
