"""What is shown of a study: its status while it runs, and its trials as a table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import func, null, select
from sqlalchemy.orm import Session

from optimizer.errors import StudyError
from optimizer.store.columns import database_now
from optimizer.store.database import Database
from optimizer.store.leases import living_holder
from optimizer.store.records import (
    COUNTED_STATES,
    TRIAL_STATES,
    BehaviourRecord,
    EvaluationRecord,
    Half,
    SensitivityRecord,
    StudyState,
    StudyStatus,
    TrialRecord,
    TrialState,
)
from optimizer.store.rows import columns, read
from optimizer.store.schema import Behaviour, Evaluation, Model, RecipeRow, Sensitivity, Study, Text, Trial

if TYPE_CHECKING:
    import pandas

_RECENT_TRIALS = 20


class Overview(Database):
    def status(self, study_id: int) -> StudyStatus:
        """One consistent view. Raises StudyError when there is no such study."""
        with self.reading() as session:
            study = session.get(Study, study_id)
            if study is None:
                raise StudyError(f"Database {self.location} has no study {study_id}.")
            now = session.scalar(select(database_now())) or 0.0
            holder = living_holder(study, now)
            state = "paused" if study.state == "running" and holder is None else study.state
            counts = dict.fromkeys(TRIAL_STATES, 0) | _counts(session, study_id)
            return StudyStatus(
                study=study.name,
                state=cast(StudyState, state),
                holder=None if holder is None else str(holder),
                phase=study.phase,
                progress=study.progress,
                trials=counts,
                target_trials=study.target_trials,
                eta_seconds=_eta_seconds(session, study, counts, now),
                tokens_evaluated=study.tokens_evaluated,
                stop_requested=study.stop_requested_at is not None,
            )

    def sensitivities_on(self, model_id: int, text_sha256: str) -> list[SensitivityRecord]:
        """What is known of a model's parts on one text, under the settings that were measured with last."""
        wanted = (Sensitivity.model_id == model_id, Text.sha256 == text_sha256)
        with self.reading() as session:
            last = select(Sensitivity.settings_key).join(Text, Text.id == Sensitivity.text_id).where(*wanted)
            key = session.scalar(last.order_by(Sensitivity.id.desc()).limit(1))
            if key is None:
                return []
            text_id = session.scalar(select(Text.id).where(Text.sha256 == text_sha256))
            same = (Sensitivity.model_id == model_id, Sensitivity.text_id == text_id, Sensitivity.settings_key == key)
            return read(session, Sensitivity, SensitivityRecord, *same, order=Sensitivity.id)

    def behaviours_of(self, subject: str) -> list[BehaviourRecord]:
        """All answers of one subject, to every suite, in the order in which they were kept."""
        with self.reading() as session:
            return read(session, Behaviour, BehaviourRecord, Behaviour.subject == subject, order=Behaviour.created_at)

    def answer_speeds(self, study_id: int) -> dict[Half, dict[int, float]]:
        """Half of a suite -> number of each trial that answered it -> tokens a second, the settings used last.

        Without the loading of the model, but with what drafts saved and what the machine did besides.
        """
        subject = Model.fingerprint + ":" + RecipeRow.key
        asked = (
            select(Trial.number, Behaviour.half, Behaviour.generation)
            .join(RecipeRow, RecipeRow.id == Trial.recipe_id)
            .join(Model, Model.id == RecipeRow.model_id)
            .join(Behaviour, Behaviour.subject == subject)
            .where(Trial.study_id == study_id)
            .order_by(Behaviour.created_at)
        )
        found: dict[Half, dict[int, float]] = {}
        with self.reading() as session:
            for number, half, generation in session.execute(asked):
                speed = generation.get("tokens_per_second")
                if speed:
                    found.setdefault(cast(Half, half), {})[number] = float(speed)
        return found

    def evaluations_of(self, recipe_id: int) -> list[tuple[str, EvaluationRecord]]:
        """Every score of a recipe with the sha256 of its text, in the order in which they came."""
        with self.reading() as session:
            found = read(session, Evaluation, EvaluationRecord, Evaluation.recipe_id == recipe_id, order=Evaluation.id)
            texts = select(Text.id, Text.sha256).where(Text.id.in_({each.text_id for each in found}))
            digests = {row.id: row.sha256 for row in session.execute(texts)}
        return [(digests[each.text_id], each) for each in found]

    def ended_trials(self, study_id: int) -> list[TrialRecord]:
        """Complete and pruned ones, as `light_trials`."""
        return self.light_trials(study_id, COUNTED_STATES)

    def light_trials(
        self, study_id: int, states: Sequence[TrialState] = TRIAL_STATES, *, layer_types: bool = False
    ) -> list[TrialRecord]:
        """By number, without what fills most of a row: `params` empty, `layer_types` None unless they are asked for."""
        every = columns(Trial, TrialRecord)
        at = [each.key for each in every].index("params")
        shown: list[Any] = [*every[:at], *every[at + 1 :]]
        if not layer_types:
            shown = [null() if each.key == "layer_types" else each for each in shown]
        with self.reading() as session:
            where = (Trial.study_id == study_id, Trial.state.in_(states))
            rows = session.execute(select(*shown).where(*where).order_by(Trial.number)).all()
        values: list[list[Any]] = [[*row[:at], {}, *row[at:]] for row in rows]
        return [TrialRecord(*each) for each in values]

    def trials_frame(self, study_id: int) -> "pandas.DataFrame":
        """One row a trial by number, one column a field of TrialRecord but `id`, `study_id` and `params`."""
        import pandas  # half a second, and most commands show no table

        shown = [each for each in columns(Trial, TrialRecord) if each.key not in ("id", "study_id", "params")]
        with self.reading() as session:
            rows = session.execute(select(*shown).where(Trial.study_id == study_id).order_by(Trial.number)).all()
        return pandas.DataFrame.from_records([tuple(row) for row in rows], columns=[each.key for each in shown])


def _counts(session: Session, study_id: int) -> dict[str, int]:
    counted = select(Trial.state, func.count().label("trials")).where(Trial.study_id == study_id).group_by(Trial.state)
    return {row.state: row.trials for row in session.execute(counted)}


def _eta_seconds(session: Session, study: Study, counts: dict[str, int], now: float) -> float | None:
    """Trials left x the mean time of the last ones, plus what the phase says of itself; never beyond the deadline."""
    if study.state == "finished":
        return 0.0
    phase: Any = (study.progress or {}).get("eta_seconds")
    eta: float | None = float(phase) if isinstance(phase, int | float) else None
    if study.target_trials is not None:
        left = max(0, study.target_trials - sum(counts[state] for state in COUNTED_STATES))
        each = _seconds_per_trial(session, study.id)
        if left and each is not None:
            eta = (eta or 0.0) + left * each
        elif left == 0:
            eta = eta or 0.0
    if study.deadline is not None:
        until = max(0.0, study.deadline - now)
        eta = until if eta is None else min(eta, until)
    return eta


def _seconds_per_trial(session: Session, study_id: int) -> float | None:
    recent = (
        select(Trial.duration_seconds)
        .where(Trial.study_id == study_id, Trial.state.in_(COUNTED_STATES))
        .order_by(Trial.finished_at.desc())
        .limit(_RECENT_TRIALS)
        .subquery()
    )
    return session.scalar(select(func.avg(recent.c.duration_seconds)))
