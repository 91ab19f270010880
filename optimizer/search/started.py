"""A trial between its start and its end."""

from dataclasses import dataclass

import optuna

from optimizer.recipes.recipe import Recipe
from optimizer.search.measuring import Measurement
from optimizer.store import TrialOutcome, TrialRecord


@dataclass(frozen=True)
class StartedTrial:
    """`asked`: Optuna's own, to be told; None where Optuna does not know the trial yet, or never will.

    share: part of the full text that it may see. incumbent: whom it races. tokens: evaluated for it before.
    """

    trial: TrialRecord
    recipe: Recipe
    incumbent: Measurement | None
    asked: optuna.Trial | None = None
    share: float = 1.0
    tokens: int = 0


@dataclass(frozen=True)
class RacedTrial:
    """measurement: None where it failed. asked_against: the incumbent that the finals and the gate knew; None where
    they were not asked.
    """

    outcome: TrialOutcome
    measurement: Measurement | None
    asked_against: Measurement | None = None
