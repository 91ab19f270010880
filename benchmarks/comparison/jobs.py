"""What is compared: one job is one search of the demo model, in a folder of its own so that nothing is free."""

from collections.abc import Iterator
from dataclasses import dataclass

K_TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
K_AND_IQ_TYPES = ("Q2_K", "Q3_K", "IQ3_S", "IQ4_XS", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
IMATRIX_TYPES = ("IQ2_XXS", "IQ2_S", "Q2_K", "IQ3_XXS", *K_AND_IQ_TYPES[1:])
WITH_IMATRIX = "K+IQ with imatrix"
BUDGETS = ("Q3_K_M", "IQ4_XS", "Q4_K_M")
SEEDS = (0, 1, 2)
OURS = "layerquant"
ONE_SHOTS = ("one_shot", "weight_error", "greedy")
OURS_LONG, OURS_LONGEST, RIVALS_LONGEST, OPTIMUM = "ours_long", "ours_longest", "rivals_longest", "optimum"
"""Groups of jobs: with more tokens; and runs of other versions and settings, kept to know the best by."""
JUDGED_AT_THEIR_END = (OURS_LONG, OURS_LONGEST, OPTIMUM)
RIVALS_THAT_LEARN = ("tpe_shape", "tpe", "nsga2", "cmaes", "evolution_short")
RIVALS = ("random", *RIVALS_THAT_LEARN)
TWICE_THE_TEXT = 5_000_000
"""Tokens from which on the longest searches by groups have twice the text, and see twice as much of it each time."""


@dataclass(frozen=True)
class Job:
    """`types`: `K`, `K+IQ` or `K+IQ with imatrix`.

    `tokens`: proposing ends once so many were evaluated on search text, probes included.
    """

    sampler: str
    units: str
    types: str
    budget: str
    seed: int
    tokens: int
    group: str

    @property
    def name(self) -> str:
        parts = (self.group, self.sampler, self.units, self.types, self.budget, f"seed{self.seed}")
        return "-".join(parts).replace("+", "and").replace(" ", "_")

    @property
    def type_names(self) -> tuple[str, ...] | None:
        """None: the default of the units, which is K-quants."""
        if self.types == "K":
            return None if self.units == "layers" else K_TYPES
        return IMATRIX_TYPES if self.has_imatrix else K_AND_IQ_TYPES

    @property
    def has_imatrix(self) -> bool:
        return self.types == WITH_IMATRIX

    @property
    def text_scale(self) -> int:
        """How many times the longer text of the longest searches this one has."""
        return 2 if self.group == OURS_LONGEST and self.units != "layers" and self.tokens >= TWICE_THE_TEXT else 1

    @property
    def space(self) -> str:
        """Jobs of one space have the same probes; units of one tensor are probed by groups."""
        parts = ["layers" if self.units == "layers" else "groups", self.types]
        if self.group in (OURS_LONG, OURS_LONGEST):
            parts.append(self.group.removeprefix("ours_"))  # their probes see more
        if self.text_scale > 1:
            parts.append("twice")
        return "-".join(parts).replace("+", "and").replace(" ", "_")


def comparison(tokens: int, units: str = "groups", types: str = "K+IQ") -> Iterator[Job]:
    """Every sampler at equal tokens; one-shot methods stop by themselves after their one evaluation."""
    for seed in SEEDS:
        for budget in BUDGETS:
            for sampler in (OURS, *RIVALS):
                yield Job(sampler, units, types, budget, seed, tokens, "equal")
            if seed == 0:
                for sampler in ONE_SHOTS:
                    yield Job(sampler, units, types, budget, seed, tokens, "equal")


def spaces(tokens: int) -> Iterator[Job]:
    """Ours in the other spaces: by layers, groups and tensors; K-quants alone and with IQ types."""
    for seed in SEEDS:
        for budget in BUDGETS:
            for units, types in (("layers", "K"), ("groups", "K"), ("tensors", "K+IQ")):
                if units != "tensors" or seed == 0:
                    yield Job(OURS, units, types, budget, seed, tokens, "spaces")


def imatrix(tokens: int, rivals: tuple[str, ...]) -> Iterator[Job]:
    """Ours and the best rivals with an importance matrix, and the types that need one."""
    for seed in SEEDS:
        for budget in BUDGETS:
            yield Job(OURS, "groups", WITH_IMATRIX, budget, seed, tokens, "imatrix")
    for budget in BUDGETS:
        for sampler in rivals:
            yield Job(sampler, "groups", WITH_IMATRIX, budget, 0, tokens, "imatrix")


def ours_long(tokens: int) -> Iterator[Job]:
    """Long searches of ours: what more tokens give, and with all other runs the estimate of the optimum."""
    yield from _long(tokens, OURS_LONG)


def ours_longest(tokens: int) -> Iterator[Job]:
    """With three times the text, and with more of it for every choice."""
    yield from _long(tokens, OURS_LONGEST)


def rivals_longest(tokens: int, rivals: tuple[str, ...], budget: str = "IQ4_XS") -> Iterator[Job]:
    """By groups with K-quants, with the text of the longest of ours and three times the chunks a trial."""
    for sampler in rivals:
        yield Job(sampler, "groups", "K", budget, 0, tokens, RIVALS_LONGEST)


def _long(tokens: int, group: str) -> Iterator[Job]:
    for seed in SEEDS:
        for budget in BUDGETS:
            for units, types in (("groups", "K+IQ"), ("groups", "K"), ("layers", "K")):
                yield Job(OURS, units, types, budget, seed, tokens, group)


def long_runs(tokens: int, rivals: tuple[str, ...], budget: str = "IQ4_XS") -> Iterator[Job]:
    """The best rivals with many times the tokens, to see when they arrive where ours did."""
    for sampler in rivals:
        yield Job(sampler, "groups", "K+IQ", budget, 0, tokens, "long")
