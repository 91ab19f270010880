"""Everything that copies a study to the outside, started and stopped together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from optimizer.store import Store
from optimizer.tracking.background import BackgroundMirror
from optimizer.tracking.mlflow_mirror import MlflowMirror
from optimizer.tracking.optuna_mirror import OptunaMirror

CATCH_UP_SECONDS = 20.0
OFF = "none"


class Mirrors:
    """`with Mirrors(...) as mirrors:` feeds MLflow and Optuna's own tables in the background.

    mlflow: a tracking URI, `default` for SQLite beside the studies, or `none`. options: unit -> its options' names.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        study_id: int,
        options: Mapping[str, Sequence[str]],
        *,
        mlflow: str = "default",
        optuna: bool = True,
    ) -> None:
        self._mirrors: list[BackgroundMirror] = []
        if mlflow != OFF:
            self._mirrors.append(MlflowMirror(store, None if mlflow == "default" else mlflow, folder=folder))
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
                mirror.catch_up(CATCH_UP_SECONDS)
            mirror.stop()
