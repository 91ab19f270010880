"""Open a study, or refuse it, and take the right to write to it."""

import time

from optimizer.config import SearchConfig
from optimizer.errors import ConfigError
from optimizer.progress import Reporter
from optimizer.search.planning import Plan
from optimizer.search.texts import TextChoice
from optimizer.store import Lease, ModelRecord, Store, StudyHeld, StudyRecord
from optimizer.store.holder import current_holder

WAIT_SECONDS = 5.0


def open_study(store: Store, plan: Plan, name: str, texts: tuple[TextChoice, TextChoice]) -> StudyRecord:
    """The study of this name, made now or found; refused when a setting differs from what it was started with."""
    record = add_model(store, plan)
    kept = {**plan.config.model_dump(mode="json"), "texts": [choice.sha256 for choice in texts]}
    study = store.find_study(name)
    if study is None:
        return store.create_study(name, record.id, kept, seed=plan.config.seed)
    before = SearchConfig.model_validate({key: value for key, value in study.config.items() if key != "texts"})
    changed = [each for each in before.differences(plan.config) if not each.startswith(("model:", "study:"))]
    if study.model_id != record.id:
        changed.append(f"model: the study searches {store.model(study.model_id).path}, not {plan.model.paths[0]}")
    if study.config.get("texts") != kept["texts"]:
        changed.append("texts: the files' contents are not those the study was started with")
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
        path=str(model.paths[0].resolve()),
        architecture=model.architecture,
        n_layer=model.n_layer,
        size_bytes=model.size_bytes,
    )


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
