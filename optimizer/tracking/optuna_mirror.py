"""Our trials as an Optuna study in a file of its own, so that optuna-dashboard shows them.

Nothing reads it back: it is made from the store's trials, off the search's path (one trial of 64 units costs 0.06 s
and more), and made anew when it is not what the store says.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from optimizer.store import Store, TrialRecord
from optimizer.store.columns import canonical_json
from optimizer.store.migrate import ALEMBIC_LOCK
from optimizer.tracking.background import BackgroundMirror

if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

_BATCH = 20
_MIRRORED = "layerquant.mirrored"


class OptunaMirror(BackgroundMirror):
    """One Optuna study of the same name and numbers, one categorical parameter a unit.

    A trial is copied once all earlier ones have ended, so that Optuna's numbers, which it gives in order, are ours.
    """

    def __init__(
        self, store: Store, study_id: int, options: Mapping[str, Sequence[str]], storage_url: str | None = None
    ) -> None:
        """`options`: of each unit, in the order to show; a baseline's own are added. `storage_url`: by default
        `optuna.db` beside the store's file."""
        super().__init__("Optuna's copy")
        folder = store.folder or Path("studies")
        self.storage_url = storage_url or f"sqlite:///{folder.resolve() / 'optuna.db'}"
        self._store = store
        self._study = store.study(study_id)
        self._options = {unit: list(each) for unit, each in options.items()}
        self._storage: RDBStorage | None = None
        self._optuna_id = 0
        self._mirrored = 0
        self._checked = False
        self._digest = b""

    def pending(self) -> int:
        return max(0, self._store.count_settled_trials(self._study.id) - self._mirrored)

    def _work(self) -> bool:
        if not self._checked:
            self._open()
        settled = self._store.count_settled_trials(self._study.id)
        if settled <= self._mirrored:
            return False
        trials = self._store.trials(self._study.id, first=self._mirrored)[: settled - self._mirrored]
        if self._add_options(trials):
            self._build_anew()  # Optuna refuses a parameter whose choices change
            return True
        self._copy(trials[:_BATCH])
        return True

    def _open(self) -> None:
        """Goes on where the copy ends, or makes it anew when it is not a beginning of the store's trials."""
        from optuna.storages import RDBStorage

        if self._storage is None:
            logging.getLogger("optuna.storages").setLevel(logging.WARNING)  # it announces every study it makes
            with ALEMBIC_LOCK:
                self._storage = RDBStorage(self.storage_url, engine_kwargs=_engine_settings(self.storage_url))
        trials = self._store.trials(self._study.id)[: self._store.count_settled_trials(self._study.id)]
        self._add_options(trials)
        try:
            self._optuna_id = self._storage.get_study_id_from_name(self._study.name)
        except KeyError:
            self._build_anew()
            return
        mirrored = self._storage.get_study_user_attrs(self._optuna_id).get(_MIRRORED, {})
        marked, count = int(mirrored.get("trials", 0)), self._count_copied()
        known = marked <= count <= len(trials) and mirrored.get("digest") == self._digest_of(trials[:marked]).hex()
        if known and all(self._is_copied(trial) for trial in trials[marked:count]):
            self._mirrored, self._digest, self._checked = count, self._digest_of(trials[:count]), True
        else:
            self._build_anew()

    def _build_anew(self) -> None:
        from optuna.study import StudyDirection

        storage = self._opened()
        with contextlib.suppress(KeyError):  # raised where there is none
            storage.delete_study(storage.get_study_id_from_name(self._study.name))
        self._optuna_id = storage.create_new_study([StudyDirection.MINIMIZE], self._study.name)
        storage.set_study_system_attr(self._optuna_id, "study:metric_names", ["mean_kld"])
        self._mirrored, self._digest, self._checked = 0, self._digest_of([]), True
        self._mark()

    def _copy(self, trials: Sequence[TrialRecord]) -> None:
        for trial in trials:
            self._opened().create_new_trial(self._optuna_id, template_trial=self._frozen(trial))
            self._digest = _chain(self._digest, trial)
            self._mirrored += 1
        self._mark()

    def _mark(self) -> None:
        value = {"trials": self._mirrored, "digest": self._digest.hex()}
        self._opened().set_study_user_attr(self._optuna_id, _MIRRORED, value)

    def _frozen(self, trial: TrialRecord) -> "FrozenTrial":
        from optuna.trial import TrialState, create_trial

        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        frozen = create_trial(
            state=states[trial.state],
            value=trial.mean_kld if trial.state == "complete" else None,
            params=dict(trial.params),
            distributions={unit: self._choices(unit) for unit in trial.params},
            user_attrs={"size_bytes": trial.size_bytes, "origin": trial.origin},
            intermediate_values={} if trial.mean_kld is None else {trial.chunks_scored: trial.mean_kld},
        )
        frozen.datetime_start = datetime.fromtimestamp(trial.started_at)
        frozen.datetime_complete = datetime.fromtimestamp(trial.finished_at or trial.started_at)
        return frozen

    def _choices(self, unit: str) -> "CategoricalDistribution":
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self._options[unit])

    def _add_options(self, trials: Iterable[TrialRecord]) -> bool:
        """Whether a trial has an option that was not known."""
        added = False
        for trial in trials:
            for unit, option in trial.params.items():
                known = self._options.setdefault(unit, [])
                if option not in known:
                    known.append(option)
                    added = True
        return added

    def _is_copied(self, trial: TrialRecord) -> bool:
        storage = self._opened()
        try:
            number = storage.get_trial_id_from_study_id_trial_number(self._optuna_id, trial.number)
        except KeyError:
            return False
        there, expected = storage.get_trial(number), self._frozen(trial)
        return (there.state, there.values, there.params) == (expected.state, expected.values, expected.params)

    def _count_copied(self) -> int:
        # Optuna's own count reads every trial with all its parameters: a minute for 10,000.
        with self._opened().engine.connect() as connection:
            counted = text("SELECT count(*) FROM trials WHERE study_id = :study")
            return int(connection.execute(counted, {"study": self._optuna_id}).scalar_one())

    def _digest_of(self, trials: Iterable[TrialRecord]) -> bytes:
        digest = hashlib.sha256(canonical_json(self._options).encode()).digest()
        for trial in trials:
            digest = _chain(digest, trial)
        return digest

    def _opened(self) -> "RDBStorage":
        if self._storage is None:
            raise RuntimeError("The mirror was used before it was opened.")
        return self._storage

    def _end(self) -> None:
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()


def _chain(digest: bytes, trial: TrialRecord) -> bytes:
    shown = [trial.number, trial.state, trial.mean_kld, trial.size_bytes, dict(trial.params)]
    return hashlib.sha256(digest + canonical_json(shown).encode()).digest()


def _engine_settings(storage_url: str) -> dict[str, object]:
    return {"connect_args": {"timeout": 60}} if storage_url.startswith("sqlite") else {}
