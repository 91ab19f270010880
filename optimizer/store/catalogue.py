"""What outlives a study: models, texts, recipes, evaluations and sensitivities, shared by all that need them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from optimizer.errors import StorageError
from optimizer.store.columns import canonical_json, database_now
from optimizer.store.database import Database
from optimizer.store.leases import require_lease
from optimizer.store.records import (
    EvaluationRecord,
    Lease,
    ModelRecord,
    NewEvaluation,
    RecipeRecord,
    SensitivityRecord,
    TextRecord,
)
from optimizer.store.rows import changed_rows, insert_missing, read
from optimizer.store.schema import Evaluation, EvaluationSettings, Model, RecipeRow, Sensitivity, Study, Text

_EVALUATION_KEY = ("recipe_id", "text_id", "settings_key", "first_chunk", "n_chunks")
_SENSITIVITY_KEY = ("model_id", "text_id", "settings_key", "unit", "probe_type", "base")


def settings_key(settings: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON: equal settings, engine and reference give one key, whatever their order."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()


class Catalogue(Database):
    """Every `add_` returns the row that is there, new or old: adding twice changes nothing."""

    def add_model(
        self, *, fingerprint: str, name: str | None, path: str | Path, architecture: str, n_layer: int, size_bytes: int
    ) -> ModelRecord:
        """The path and name given last are kept: a file may be moved."""
        values = {
            "fingerprint": fingerprint,
            "name": name,
            "path": str(path),
            "architecture": architecture,
            "n_layer": n_layer,
            "size_bytes": size_bytes,
        }
        with self.writing() as session:
            insert_missing(session, Model, ["fingerprint"], values, update=["name", "path"])
            return read(session, Model, ModelRecord, Model.fingerprint == fingerprint)[0]

    def model(self, model_id: int) -> ModelRecord:
        with self.reading() as session:
            found = read(session, Model, ModelRecord, Model.id == model_id)
        if not found:
            raise StorageError(f"Database {self.location} has no model {model_id}.")
        return found[0]

    def add_text(self, *, sha256: str, path: str | Path, n_bytes: int) -> TextRecord:
        """The path given last is kept."""
        with self.writing() as session:
            values = {"sha256": sha256, "path": str(path), "n_bytes": n_bytes}
            insert_missing(session, Text, ["sha256"], values, update=["path"])
            return read(session, Text, TextRecord, Text.sha256 == sha256)[0]

    def add_recipe(self, model_id: int, key: str, tensor_types: Mapping[str, str], *, plain_bytes: int) -> RecipeRecord:
        with self.writing() as session:
            values = {
                "model_id": model_id,
                "key": key,
                "tensor_types": dict(tensor_types),
                "plain_bytes": plain_bytes,
            }
            insert_missing(session, RecipeRow, ["model_id", "key"], values)
            return read(session, RecipeRow, RecipeRecord, RecipeRow.model_id == model_id, RecipeRow.key == key)[0]

    def recipe(self, recipe_id: int) -> RecipeRecord:
        with self.reading() as session:
            found = read(session, RecipeRow, RecipeRecord, RecipeRow.id == recipe_id)
        if not found:
            raise StorageError(f"Database {self.location} has no recipe {recipe_id}.")
        return found[0]

    def recipes(self, recipe_ids: Iterable[int]) -> dict[int, RecipeRecord]:
        """By id; ids that are not there are left out."""
        wanted = sorted(set(recipe_ids))
        found: dict[int, RecipeRecord] = {}
        with self.reading() as session:
            for start in range(0, len(wanted), 500):  # SQLite takes 32,766 variables, older ones 999
                part = read(session, RecipeRow, RecipeRecord, RecipeRow.id.in_(wanted[start : start + 500]))
                found.update((recipe.id, recipe) for recipe in part)
        return found

    def find_recipe(self, model_id: int, key: str) -> RecipeRecord | None:
        with self.reading() as session:
            found = read(session, RecipeRow, RecipeRecord, RecipeRow.model_id == model_id, RecipeRow.key == key)
        return found[0] if found else None

    def add_settings(self, settings: Mapping[str, Any]) -> str:
        """Keeps the settings, engine and reference that scores were made with; returns their key."""
        key = settings_key(settings)
        with self.writing() as session:
            insert_missing(session, EvaluationSettings, ["key"], {"key": key, "settings": dict(settings)})
        return key

    def settings(self, key: str) -> Mapping[str, Any]:
        """What `add_settings` was given for this key."""
        with self.reading() as session:
            found: dict[str, Any] | None = session.scalar(
                select(EvaluationSettings.settings).where(EvaluationSettings.key == key)
            )
        if found is None:
            raise StorageError(f"Database {self.location} has no evaluation settings {key}.")
        return found

    def find_evaluations(self, recipe_id: int, text_id: int, settings_key: str) -> list[EvaluationRecord]:
        """Every range of chunks of this text that this recipe was scored on with these settings, by first chunk."""
        with self.reading() as session:
            return read(
                session,
                Evaluation,
                EvaluationRecord,
                Evaluation.recipe_id == recipe_id,
                Evaluation.text_id == text_id,
                Evaluation.settings_key == settings_key,
                order=Evaluation.first_chunk,
            )

    def add_evaluations(
        self, evaluations: Sequence[NewEvaluation], lease: Lease | None = None
    ) -> list[EvaluationRecord]:
        """Keeps results as they come, before their trial ends. The first result of a range stays.

        With a lease the tokens of new rows are added to its study's total. Raises StudyError when it was lost.
        """
        with self.writing() as session:
            if lease is not None:
                require_lease(session, lease)
            return insert_evaluations(session, evaluations, None if lease is None else lease.study_id)

    def add_sensitivities(self, sensitivities: Sequence[SensitivityRecord]) -> int:
        """Adds or replaces; an imported value never replaces a measured one. Returns how many were taken."""
        taken = 0
        with self.writing() as session:
            for each in sensitivities:
                values = {name: getattr(each, name) for name in SensitivityRecord.__slots__}
                new = insert_missing(session, Sensitivity, _SENSITIVITY_KEY, values)
                if not new:
                    changed = update(Sensitivity).where(
                        *(getattr(Sensitivity, key) == values[key] for key in _SENSITIVITY_KEY)
                    )
                    if each.source == "imported":
                        changed = changed.where(Sensitivity.source == "imported")
                    new = changed_rows(session, changed.values(**values)) > 0
                taken += new
        return taken

    def sensitivities(self, model_id: int, text_id: int, settings_key: str) -> list[SensitivityRecord]:
        """In the order in which they came."""
        with self.reading() as session:
            return read(
                session,
                Sensitivity,
                SensitivityRecord,
                Sensitivity.model_id == model_id,
                Sensitivity.text_id == text_id,
                Sensitivity.settings_key == settings_key,
                order=Sensitivity.id,
            )


def insert_evaluations(
    session: Session, evaluations: Sequence[NewEvaluation], study_id: int | None
) -> list[EvaluationRecord]:
    """Part of a transaction; the rows that are there afterwards, in the order given."""
    kept: list[EvaluationRecord] = []
    new_tokens = 0
    for each in evaluations:
        values = {name: getattr(each, name) for name in NewEvaluation.__slots__}
        values["chunks"] = [dict(chunk) for chunk in each.chunks]
        values["summary"] = dict(each.summary)
        if insert_missing(session, Evaluation, _EVALUATION_KEY, values | {"created_at": database_now()}):
            new_tokens += each.tokens
        same = (getattr(Evaluation, key) == getattr(each, key) for key in _EVALUATION_KEY)
        kept += read(session, Evaluation, EvaluationRecord, *same)
    if study_id is not None and new_tokens:
        session.execute(
            update(Study).where(Study.id == study_id).values(tokens_evaluated=Study.tokens_evaluated + new_tokens)
        )
    return kept
