"""Who leads a budget's search: the incumbent, who may take its place, and the best stock preset beside it."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from optimizer.recipes.recipe import Recipe
from optimizer.search.baselines import PRESET
from optimizer.search.best import (
    FRESH_CHUNKS,
    FRESH_DIFFERENCE,
    FRESH_ERROR,
    FULL_TEXT_ESTIMATE,
    LUCK,
    POOLED_KLD,
    kept_out,
    only_lucky,
)
from optimizer.search.finals import Final, Finals
from optimizer.search.gate import Gate
from optimizer.search.luck import luck
from optimizer.search.measuring import Measurement
from optimizer.search.racing import compare
from optimizer.store import TrialOutcome, TrialRecord


class Leader:
    """Shown every trial of a budget in turn: `ask` before it is kept, `note` and `crown` after."""

    def __init__(
        self,
        gate: Gate | None,
        rivals_only: Collection[str],
        *,
        all_answer: bool = False,
        finals: Finals | None = None,
    ) -> None:
        """rivals_only: baselines of types that the search may not use: never the incumbent.

        all_answer: prompts are an objective, so every complete trial answers them. finals: without them, a lead on the
        search text alone must be greater than luck explains.
        """
        self._finals = finals
        self._gate = gate
        self._rivals_only = rivals_only
        self._all_answer = all_answer
        self._contenders = 0
        self._best_preset: tuple[float, str | None] | None = None
        self.incumbent: Measurement | None = None
        self._pooled_kld = 0.0
        """The incumbent's, as its own finals found it."""

    def ask(self, trial: TrialRecord, recipe: Recipe, outcome: TrialOutcome, measurement: Measurement) -> TrialOutcome:
        """Why a trial of less KLD than the incumbent may not take its place, among its metrics: luck, or the gate.

        Raises EvaluationError.
        """
        outcome = self._on_finals_scale(outcome, measurement)
        if outcome.state != "complete":
            return outcome
        leads = self._leads(trial, measurement)
        said: dict[str, Any] = {}
        reason = None
        if leads:
            reason, said, tokens = self._doubt(trial, recipe, measurement)
            outcome = replace(outcome, tokens_spent=(outcome.tokens_spent or 0) + tokens)
        if self._gate is not None:
            label = trial.name or trial.origin
            if leads and reason is None:
                incumbent = Recipe(self.incumbent.recipe.tensor_types) if self.incumbent is not None else None
                said = {**said, **self._gate.ask(recipe, incumbent, label)}
            elif self._all_answer:
                said = {**said, **self._gate.answer(recipe, label)}
        return replace(outcome, metrics={**(outcome.metrics or {}), **said}) if said else outcome

    def crown(self, trial: TrialRecord, measurement: Measurement) -> bool:
        """Make a complete trial the incumbent where it clearly loses less on the full text and the gate is open."""
        self._contenders += trial.name is None and self.incumbent is not None and self._leads(trial, measurement)
        if only_lucky(trial) is not None or kept_out(trial) is not None or not self._leads(trial, measurement):
            return False
        self.incumbent = measurement
        self._pooled_kld = float((trial.metrics or {}).get(POOLED_KLD, measurement.score.mean_kld))
        return True

    def on_race_scale(self, pooled_kld: float | None) -> float | None:
        """A forecast of the surrogate, which is told pooled KLDs, as a trial shows it on the chunks of the race."""
        return None if pooled_kld is None else pooled_kld - self._gap

    def note(self, trial: TrialRecord) -> None:
        """Remember the best stock preset."""
        kld = trial.mean_kld
        if trial.state != "complete" or kld is None or not trial.origin.startswith(f"{PRESET}:"):
            return
        if self._best_preset is None or kld < self._best_preset[0]:
            self._best_preset = (kld, trial.name)

    def standing(self) -> str:
        """Best so far against the best preset that fits, on search text."""
        if self.incumbent is None:
            return ""
        best = self.incumbent.score.mean_kld
        if self._best_preset is None:
            return f"best {best:.6f}"
        kld, name = self._best_preset
        return f"best {best:.6f} = {best / kld:.3f} x {name}"

    @property
    def _gap(self) -> float:
        """How much more the incumbent loses over all chunks that it was measured on than on those of the race."""
        return 0.0 if self.incumbent is None else self._pooled_kld - self.incumbent.score.mean_kld

    def _on_finals_scale(self, outcome: TrialOutcome, measurement: Measurement) -> TrialOutcome:
        """With what the surrogate is told of a trial that comes into no final: the incumbent's pooled KLD, and what the
        trial lost more in the race. Else the incumbent alone would seem better or worse by what its finals found.
        """
        if self._finals is None or self.incumbent is None or outcome.state == "failed":
            return outcome
        metrics = outcome.metrics or {}
        raced = float(metrics.get(FULL_TEXT_ESTIMATE, measurement.score.mean_kld))
        return replace(outcome, metrics={**metrics, POOLED_KLD: raced + self._gap})

    def _leads(self, trial: TrialRecord, measurement: Measurement) -> bool:
        if trial.name in self._rivals_only:
            return False
        return self.incumbent is None or measurement.score.mean_kld < self.incumbent.score.mean_kld

    def _doubt(
        self, trial: TrialRecord, recipe: Recipe, measurement: Measurement
    ) -> tuple[str | None, dict[str, Any], int]:
        """Why a lead on the search text may prove nothing, the metrics that say so, and the tokens it took to know.

        Baselines were not sought out, so their lead is what it is.
        """
        if self.incumbent is None or trial.name is not None:
            return None, {}, 0
        raced = compare(measurement.by_chunk, self.incumbent.by_chunk)
        if self._finals is not None:
            label = f"{trial.name or trial.origin}, finals"
            theirs = Recipe(self.incumbent.recipe.tensor_types)
            played = self._finals.play(recipe, theirs, raced, label)
            if played is not None:
                found, pooled = played.fresh, played.together.mean
                said: dict[str, Any] = {
                    FRESH_CHUNKS: found.chunks, FRESH_DIFFERENCE: found.mean, FRESH_ERROR: found.standard_error,
                    POOLED_KLD: self._pooled_kld + pooled,
                }  # fmt: skip
                reason = None if pooled < 0 else _behind(played)
                return reason, {**said, **({LUCK: reason} if reason else {})}, played.new_tokens
        reason = luck(raced, self._contenders + 2)  # of the contenders so far, this one and the incumbent
        return reason, {LUCK: reason} if reason else {}, 0


def _behind(played: Final) -> str:
    """Why a lead in the race made no incumbent."""
    return (
        f"on {played.fresh.chunks} fresh chunks of the search text it is behind by {played.fresh.mean:.6f} ± "
        f"{played.fresh.standard_error:.6f}, and with those of the race by {played.together.mean:.6f}"
    )
