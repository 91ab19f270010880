"""Open a study, or refuse it, and take the right to write to it."""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from optimizer.config import SearchConfig
from optimizer.errors import ConfigError
from optimizer.progress import Reporter
from optimizer.search.planning import Plan
from optimizer.search.texts import TextChoice
from optimizer.store import Lease, ModelRecord, Store, StudyHeld, StudyRecord
from optimizer.store.holder import current_holder

WAIT_SECONDS = 5.0
CONTENTS = "contents"
BY_CONTENT = ("model", "study", "search_text", "report_text", "imatrix", "imatrix_text", "sensitivities", "prompts")
"""Settings that may be written otherwise, as long as the files hold the same."""


def kept_settings(plan: Plan, texts: tuple[TextChoice, TextChoice]) -> dict[str, Any]:
    """What a study keeps: files by absolute path or by name on the hub, and by the digest of what they hold."""
    files = {"model": plan.model.paths[0]}
    if plan.imatrix is not None:
        files["imatrix"] = plan.imatrix.path
    return {
        **plan.config.model_dump(mode="json"),
        **{name: str(absolute(path)) for name, path in files.items()},
        "search_text": _kept_text(texts[0]),
        "report_text": _kept_text(texts[1]),
        CONTENTS: [
            *(choice.sha256 for choice in texts),
            plan.imatrix.sha256 if plan.imatrix else None,
            *_given_sensitivities(plan),
            *(plan.prompts.contents if plan.prompts else []),
        ],
    }


def _kept_text(text: TextChoice) -> str:
    """Of the hub at its commit, so that a resumed study finds it in the cache and still says where it came from."""
    return text.origin or str(absolute(text.path))


def _given_sensitivities(plan: Plan) -> list[str]:
    given = plan.config.sensitivities
    return [hashlib.sha256(Path(given).read_bytes()).hexdigest()] if given else []


def kept_config(study: StudyRecord) -> SearchConfig:
    """The settings of a study, as its next run would use them."""
    return SearchConfig.load(None, {key: value for key, value in study.config.items() if key != CONTENTS})


def open_study(store: Store, plan: Plan, name: str, texts: tuple[TextChoice, TextChoice]) -> StudyRecord:
    """The study of this name, made now or found; refused when a setting differs from what its trials were made with."""
    record = add_model(store, plan)
    kept = kept_settings(plan, texts)
    study = store.find_study(name)
    if study is None:
        return store.create_study(name, record.id, kept, seed=plan.config.seed)
    changed = [
        difference
        for difference in kept_config(study).differences(plan.config)
        if not difference.startswith(tuple(f"{key}:" for key in BY_CONTENT))
    ]
    if study.config.get(CONTENTS) != kept[CONTENTS]:
        changed.append("texts, imatrix, sensitivities, prompts: their contents are not those that the study began with")
    if study.model_id != record.id:
        changed.append(f"model: the study searches {store.model(study.model_id).path}, not {plan.model.paths[0]}")
    elif not store.trials(study.id):
        return study  # nothing was found yet that other settings could spoil
    if changed:
        raise ConfigError(
            f"study {name} was started with other settings: {'; '.join(changed)}. "
            "Continue it with the old ones, or start another study with --study NAME"
        )
    return study


def add_model(store: Store, plan: Plan) -> ModelRecord:
    model = plan.model
    return store.add_model(
        fingerprint=model.fingerprint,
        name=model.name,
        path=str(absolute(model.paths[0])),
        architecture=model.architecture,
        n_layer=model.n_layer,
        size_bytes=model.size_bytes,
    )


def absolute(path: Path) -> Path:
    """Without following links: in the hub's cache a file is a link, and what it leads to has no name of its own."""
    return Path(os.path.abspath(path))


def take_lease(store: Store, study: StudyRecord, reporter: Reporter) -> Lease:
    """The right to write to the study. On this host a living holder is refused at once; on another it is waited for."""
    announced = False
    while True:
        try:
            return store.acquire_lease(study.id)
        except StudyHeld as held:
            if held.holder.host == current_holder().host:
                raise
            if not announced:
                reporter.line(f"[yellow]{held}; waiting for it[/yellow]")
                announced = True
            time.sleep(WAIT_SECONDS)
