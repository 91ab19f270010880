"""Everything that copies a study to the outside, started and stopped together."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from optimizer.store import Store
from optimizer.tracking.background import BackgroundMirror
from optimizer.tracking.mlflow_mirror import MlflowMirror
from optimizer.tracking.optuna_mirror import OptunaMirror

CATCH_UP_SECONDS = 20.0
AWAY_SECONDS = 2.0
"""For one that is known to be away: an outage must not hold up a search's end."""
DEFAULT, OFF = "default", "none"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
"""MLflow's own name for where its server is."""


class Mirrors:
    """`with Mirrors(...) as mirrors:` feeds MLflow and Optuna's own tables in the background.

    mlflow: a tracking URI, `none`, or `default`: the environment's MLFLOW_TRACKING_URI, else SQLite beside the studies.
    options: unit -> its options' names.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        study_id: int,
        options: Mapping[str, Sequence[str]],
        *,
        mlflow: str = DEFAULT,
        optuna: bool = True,
    ) -> None:
        self._mirrors: list[BackgroundMirror] = []
        if mlflow != OFF:
            self._mirrors.append(MlflowMirror(store, tracking_uri(mlflow), folder=folder))
        if optuna:
            url = f"sqlite:///{folder.resolve() / 'optuna.db'}"
            self._mirrors.append(OptunaMirror(store, study_id, options, url))

    def notify(self) -> None:
        for mirror in self._mirrors:
            mirror.notify()

    def __enter__(self) -> Self:
        for mirror in self._mirrors:
            mirror.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits a little for what is pending after an orderly end; what is left is delivered at the next start."""
        for mirror in self._mirrors:
            if kind is None:
                mirror.catch_up(CATCH_UP_SECONDS if mirror.last_error is None else AWAY_SECONDS)
            mirror.stop()


def tracking_uri(setting: str) -> str | None:
    """Of `tracking.mlflow`; None means SQLite beside the studies."""
    return os.environ.get(URI_VARIABLE) or None if setting == DEFAULT else setting
