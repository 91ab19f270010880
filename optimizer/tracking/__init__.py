"""Copies of what the store holds, for people who look elsewhere: MLflow and Optuna's dashboard. Never the truth."""

from optimizer.tracking.background import BackgroundMirror
from optimizer.tracking.mlflow_mirror import MlflowMirror
from optimizer.tracking.optuna_mirror import OptunaMirror

__all__ = ["BackgroundMirror", "MlflowMirror", "OptunaMirror"]
