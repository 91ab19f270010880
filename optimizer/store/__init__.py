"""The SQL database: the only code that talks to it, and the truth about every study."""

from optimizer.store.holder import Holder, StudyHeld
from optimizer.store.lease_keeper import LeaseKeeper
from optimizer.store.records import (
    BehaviourRecord,
    EvaluationRecord,
    EventRecord,
    InterruptedTrial,
    Lease,
    ModelRecord,
    NewEvaluation,
    NewEvent,
    RecipeRecord,
    SensitivityRecord,
    StudyRecord,
    StudyStatus,
    TextRecord,
    TrialOutcome,
    TrialRecord,
)
from optimizer.store.store import Store

__all__ = [
    "BehaviourRecord",
    "EvaluationRecord",
    "EventRecord",
    "Holder",
    "InterruptedTrial",
    "Lease",
    "LeaseKeeper",
    "ModelRecord",
    "NewEvaluation",
    "NewEvent",
    "RecipeRecord",
    "SensitivityRecord",
    "Store",
    "StudyHeld",
    "StudyRecord",
    "StudyStatus",
    "TextRecord",
    "TrialOutcome",
    "TrialRecord",
]
