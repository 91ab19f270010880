"""A trial taken home: opened with all it needs, and written in every form that is text."""

from dataclasses import dataclass
from pathlib import Path

from optimizer.errors import ConfigError, StudyError
from optimizer.export.layer_types_text import layer_types_text
from optimizer.export.model_card import model_card
from optimizer.export.quantize_command import quantize_command
from optimizer.export.report_view import Report
from optimizer.export.tensor_type_file import tensor_type_file
from optimizer.gguf.provenance import build_block
from optimizer.recipes.recipe import Recipe
from optimizer.search.best import best_of_study, winners
from optimizer.search.claiming import kept_config
from optimizer.search.planning import Plan, make_plan
from optimizer.store import Store, StudyRecord, TrialRecord
from optimizer.workplace import Workplace

FORMS = ("layer-types", "tensor-type-file", "command", "gguf", "folder", "card")


@dataclass(frozen=True)
class Handover:
    """A trial to hand over, with all it needs."""

    plan: Plan
    study: StudyRecord
    trial: TrialRecord
    recipe: Recipe
    bank: Path


def open_handover(store: Store, study: StudyRecord, number: int | None, workplace: Workplace) -> Handover:
    """The trial of this number, by default the winner. Raises StudyError where there is none yet."""
    found = chosen_trial(store, study, number)
    recipe = Recipe(store.recipe(found.recipe_id).tensor_types)
    return Handover(make_plan(kept_config(study)), study, found, recipe, workplace.bank_folder)


def chosen_trial(store: Store, study: StudyRecord, number: int | None) -> TrialRecord:
    if number is not None:
        return store.trial(study.id, number)
    numbers = winners(study.report)
    found = store.trial(study.id, numbers[0]) if numbers else best_of_study(study, store.trials(study.id))
    if found is None:
        raise StudyError(f"study {study.name} has no complete trial yet; continue the search")
    return found


def handover_text(handover: Handover, form: str) -> str:
    """A trial as `layer-types`, `tensor-type-file`, `command` or `card`. Raises StudyError or ConfigError."""
    plan, recipe = handover.plan, handover.recipe
    if form == "layer-types":
        trial = handover.trial
        kld = "" if trial.mean_kld is None else f", search KLD {trial.mean_kld:.6f} nats/token"
        comments = [f"layerquant study {handover.study.name}, trial {trial.number}: {trial.size_bytes:,} bytes{kld}"]
        return layer_types_text(plan.layer_types(recipe), comments)
    if form == "tensor-type-file":
        return tensor_type_file(recipe, plan.model)
    imatrix = plan.imatrix.path if plan.imatrix else None
    out_name = Path(f"{handover.study.name}.gguf")
    command = quantize_command(recipe, plan.model, out_name, imatrix=imatrix)
    if form == "command":
        return command
    if handover.study.report is None:
        raise StudyError(
            f"study {handover.study.name} has no report yet, and a model card needs one; continue the search"
        )
    view = Report.from_json(handover.study.report)
    front = next((each for each in view.fronts if each.trial == handover.trial.number), None)
    if front is None:
        raise ConfigError(
            f"trial {handover.trial.number} is no winner of this study; a model card is written for winners only"
        )
    shared = quantize_command(
        recipe,
        plan.model,
        out_name,
        source=Path(plan.model.paths[0].name),
        imatrix=Path(imatrix.name) if imatrix else None,
    )
    return model_card(view, front, tensor_types=recipe.kept_types, command=shared)


def provenance(handover: Handover) -> str | None:
    """The metadata block of an handover file; None where it would push the file over its budget (a stock preset)."""
    plan, trial = handover.plan, handover.trial
    if trial.budget_bytes is not None and plan.sizes.file_size(handover.recipe, plain=False) > trial.budget_bytes:
        return None
    fields = {
        "made_by": "layerquant",
        "source_name": plan.model.name,
        "source": plan.model.fingerprint[:16],
        "study": handover.study.name,
        "trial": trial.number,
        "budget_bytes": trial.budget_bytes,
        "metrics": {
            "search_mean_kld": trial.mean_kld,
            "standard_error": trial.mean_kld_standard_error,
            "perplexity": trial.perplexity,
        },
        "imatrix": plan.imatrix.path.name if plan.imatrix else None,
    }
    return build_block(handover.recipe.tensor_types, plan.presets.quantizable, fields)
