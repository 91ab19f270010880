"""`/api/studies/STUDY/…`: trials, their front, recipes and answers, and what is known of the model's parts."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse, Response

from evaluators.behaviour.record import prompts_from_json
from evaluators.behaviour.scores import diverge
from optimizer.commands.results import trial_object
from optimizer.export.layer_map import layer_map
from optimizer.search.best import best_of_study, kept_out, winners
from optimizer.search.claiming import CONTENTS
from optimizer.search.non_dominated import non_dominated
from optimizer.service.context import Here, Service
from optimizer.service.problems import NotFound
from optimizer.service.shapes import answers
from optimizer.service.trial_shapes import Front, Sensitivities, Transcript, Transcripts, Trial, Trials
from optimizer.store import BehaviourRecord, StudyRecord, TrialRecord

MOST = 2_000
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]

router = APIRouter(prefix="/studies/{study}", tags=["trials"])


@router.get("/trials", **answers(Trials))
def list_trials(
    study: str,
    here: Here,
    first: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
    layer_types: bool = False,
) -> dict[str, Any]:
    """By number, from `first` on, as `layerquant trials --json` shows them; `next` is the number to go on from.

    Their LAYER_TYPES, which make up most of it, only where they are asked for.
    """
    record = here.study(study)
    found = here.store.trials(record.id, first=first)
    shown = [trial_object(trial) for trial in found[:limit]]
    if not layer_types:
        for each in shown:
            del each["layer_types"]
    further = found[limit].number if len(found) > limit else None
    return {"study": study, "tokens_evaluated": record.tokens_evaluated, "trials": shown, "next": further}


@router.get("/trials.csv", response_class=PlainTextResponse, responses={200: {"content": {"text/csv": {}}}})
def trials_as_table(study: str, here: Here) -> Response:
    """What `layerquant trials STUDY --csv` prints."""
    text = here.store.trials_frame(here.study(study).id).to_csv(index=False)
    return PlainTextResponse(text, media_type="text/csv; charset=utf-8")


@router.get("/trials/{number}", **answers(Trial))
def show_trial(study: str, number: Number, here: Here) -> dict[str, Any]:
    """All of one trial: every tensor's type, and the same as layers x roles."""
    record = here.study(study)
    trial = trial_of(here, record, number)
    types = here.store.recipe(trial.recipe_id).tensor_types
    more = {name: getattr(trial, name) for name in ("metrics", "attempts", "started_at", "duration_seconds", "params")}
    layers = layer_map(types)
    return (
        trial_object(trial) | more | {"tensor_types": dict(types), "layer_map": asdict(layers) | {"bits": layers.bits}}
    )


@router.get("/front", **answers(Front))
def show_front(study: str, here: Here) -> dict[str, Any]:
    """Every complete trial as a point, and which of them no other beats in bytes and KLD on search text."""
    record = here.study(study)
    trials = here.store.trials(record.id, ("complete",))
    own = [trial for trial in trials if trial.mean_kld is not None and kept_out(trial) is None]
    front = {trial.number for trial in non_dominated(own, lambda trial: (trial.size_bytes, trial.mean_kld or 0.0))}
    best = best_of_study(record, trials)
    return {
        "study": study,
        "best": None if best is None else best.number,
        "winners": winners(record.report),
        "points": [_point(trial) | {"on_front": trial.number in front} for trial in trials],
        "report": (record.report or {}).get("front"),
    }


@router.get("/sensitivities", **answers(Sensitivities))
def show_sensitivities(study: str, here: Here) -> dict[str, Any]:
    """What each part of the model costs at each type that was probed, on the study's search text."""
    record = here.study(study)
    contents = record.config.get(CONTENTS) or [None]
    rows = here.store.sensitivities_on(record.model_id, str(contents[0])) if contents[0] else []
    keys = ("unit", "probe_type", "base", "kld", "standard_error", "source")
    return {"study": study, "sensitivities": [{key: getattr(row, key) for key in keys} for row in rows]}


@router.get("/trials/{number}/transcripts", **answers(Transcripts))
def list_transcripts(study: str, number: Number, here: Here) -> dict[str, Any]:
    """How a trial behaved, prompt by prompt, beside the source: verdicts and first divergences, no texts."""
    record = here.study(study)
    return {"suites": [_suite(kept, source) for kept, source in behaviours_beside(here, record, number)]}


@router.get("/trials/{number}/transcripts/{prompt}", **answers(Transcript))
def show_transcript(study: str, number: Number, prompt: str, here: Here) -> dict[str, Any]:
    """One prompt's answers, the trial's and the source's; loops as [onset, period, length] in tokens."""
    record = here.study(study)
    for kept, source in behaviours_beside(here, record, number):
        mine = [each for each in kept.prompts if each["id"] == prompt]
        if mine:
            theirs = [] if source is None else [each for each in source.prompts if each["id"] == prompt]
            return {"prompt": prompt, "half": kept.half, "trial": mine[0], "source": theirs[0] if theirs else None}
    raise NotFound(f"trial {number} of study {study} has no answers to a prompt {prompt}")


def trial_of(here: Service, record: StudyRecord, number: int) -> TrialRecord:
    found = here.store.trials(record.id, first=number, last=number)
    if not found:
        raise NotFound(f"study {record.name} has no trial {number}")
    return found[0]


def _point(trial: TrialRecord) -> dict[str, Any]:
    keys = ("size_bytes", "budget_bytes", "mean_kld", "mean_kld_standard_error", "perplexity", "predicted_kld")
    shown = trial_object(trial)
    more = ("number", "name", "origin", "tokens_spent", "prompts_solved", "prompts_total", "kept_out")
    return {key: shown[key] for key in (*more, *keys)}


def behaviours_beside(
    here: Service, record: StudyRecord, number: int
) -> list[tuple[BehaviourRecord, BehaviourRecord | None]]:
    """A trial's answers to each half of each suite, each with the source's to the same prompts."""
    fingerprint = here.store.model(record.model_id).fingerprint
    key = here.store.recipe(trial_of(here, record, number).recipe_id).key
    source = here.store.behaviours_of(fingerprint)

    def beside(kept: BehaviourRecord) -> BehaviourRecord | None:
        same = [each for each in source if (each.suite_sha256, each.half) == (kept.suite_sha256, kept.half)]
        return next((each for each in same if each.settings_key == kept.settings_key), same[-1] if same else None)

    return [(kept, beside(kept)) for kept in here.store.behaviours_of(f"{fingerprint}:{key}")]


def _suite(kept: BehaviourRecord, source: BehaviourRecord | None) -> dict[str, Any]:
    theirs = {} if source is None else {each.prompt_id: each for each in prompts_from_json(source.prompts)}
    rows = []
    for mine in prompts_from_json(kept.prompts):
        other = theirs.get(mine.prompt_id)
        first = None
        if other is not None:
            pairs = zip(mine.answers, other.answers, strict=False)
            found = [diverge(one.transcript, two.transcript).first for one, two in pairs]
            first = next((each for each in found if each is not None), None)
        rows.append(
            {
                "prompt": mine.prompt_id,
                "category": mine.category,
                "solved": mine.solved,
                "source_solved": None if other is None else other.solved,
                "first_divergence": first,
                "endings": [answer.transcript.ending.verdict.value for answer in mine.answers],
            }
        )
    return {"suite_sha256": kept.suite_sha256, "half": kept.half, "summary": dict(kept.summary), "prompts": rows}
