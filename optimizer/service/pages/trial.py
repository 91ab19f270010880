"""`/studies/STUDY/trials/N`: one recipe with its scores, its answers and every form to take it home in."""

from typing import Any

from fastapi import Request, Response

from evaluators.errors import EvaluationError
from optimizer.commands.handover import open_handover
from optimizer.errors import LayerquantError
from optimizer.export.report_figure import Figure, type_map
from optimizer.recipes.layer_types import format_json
from optimizer.search.best import kept_out, only_lucky, winners
from optimizer.service.context import Here
from optimizer.service.pages.rendering import page_router, render
from optimizer.service.pages.study_data import label_of, map_of
from optimizer.service.pages.trial_data import TextScore, answers_of, scores_of
from optimizer.service.routes.exports import list_exports
from optimizer.service.routes.trials import Number, trial_of
from optimizer.service.summaries import full_kld, kind_of

router = page_router()


@router.get("/studies/{study}/trials/{number}")
def show(request: Request, study: str, number: Number, here: Here) -> Response:
    record = here.study(study)
    trial = trial_of(here, record, number)
    layers, scores = map_of(here, trial), scores_of(here, record, trial)
    figures: dict[str, Figure] = {f"chunks-{each.text}": chunk_figure(each) for each in scores}
    if layers.roles:
        figures["map"] = type_map(layers)
    return render(
        request, "trial.html.j2", study=study, trial=trial, label=label_of(trial), kind=kind_of(trial),
        known_kld=full_kld(trial), scores=scores, layers=layers, kept_out=kept_out(trial), luck=only_lucky(trial),
        is_winner=trial.number in winners(record.report), answers=answers_of(here, record, trial),
        winners=winners(record.report), charts={"figures": figures}, **_exports(here, study, trial.number),
    )  # fmt: skip


@router.get("/studies/{study}/trials/{number}/recipe")
def recipe_part(request: Request, study: str, number: Number, here: Here) -> Response:
    """LAYER_TYPES, FLAGS and the files: apart from the page, for the model's header has to be read for them.

    Where it cannot be, what the trial has kept of itself is shown, and why there is no more.
    """
    record = here.study(study)
    trial = trial_of(here, record, number)
    kept, flags, reason = trial.layer_types, "", ""
    try:
        with here.planning:
            found = open_handover(here.store, record, number, here.settings.workplace)
            layer_types = found.plan.layer_types(found.recipe)
        kept, flags = format_json(layer_types), str(layer_types.flags or "")
    except (LayerquantError, EvaluationError) as error:
        reason = str(error)
    return render(
        request, "trial_recipe.html.j2", layer_types=kept, flags=flags, reason=reason, study=study, number=number,
        is_winner=number in winners(record.report),
    )  # fmt: skip


@router.get("/studies/{study}/trials/{number}/exports")
def exports_part(request: Request, study: str, number: Number, here: Here) -> Response:
    """The trial's GGUF: being written, or there."""
    here.study(study)
    return render(request, "trial_exports.html.j2", study=study, **_exports(here, study, number))


def _exports(here: Here, study: str, number: int) -> dict[str, Any]:
    name = f"{study}-trial{number}.gguf"
    jobs = [job for job in list_exports(study, here)["exports"] if job["file"] == name]
    return {"number": number, "job": jobs[-1] if jobs else None}


def chunk_figure(scored: TextScore) -> Figure:
    """Mean KLD of each chunk, and of the text."""
    numbers, values = list(scored.by_chunk), list(scored.by_chunk.values())
    mean = scored.score.mean_kld
    return {
        "data": [
            {
                "type": "bar", "x": numbers, "y": values, "marker": {"color": "#0072b2"},
                "hovertemplate": "chunk %{x}: %{y:.6f}<extra></extra>",
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": "chunk"}},
            "yaxis": {"title": {"text": "mean KLD"}, "rangemode": "tozero"},
            "shapes": [
                {
                    "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": mean, "y1": mean,
                    "line": {"width": 1, "dash": "dot", "color": "{muted}"},
                }
            ],
            "margin": {"l": 70, "r": 20, "t": 10, "b": 50},
            "height": 240,
        },
    }  # fmt: skip
