"""`/new`: a search put together in a form, with its sizes as one types, and the YAML and command that it will run."""

import json
from typing import Any

import yaml
from fastapi import Request, Response
from starlette.datastructures import QueryParams

from evaluators.errors import EvaluationError
from optimizer.commands.search import study_name_of
from optimizer.config import SearchConfig, read_yaml
from optimizer.errors import ConfigError, DownloadError, LayerquantError
from optimizer.named_files import BUNDLED
from optimizer.search.space_building import K_LAYER_TYPES, K_TENSOR_TYPES
from optimizer.service import launching
from optimizer.service.context import Here, Service
from optimizer.service.pages.rendering import page_router, render
from optimizer.service.pages.short_names import short_command, short_name, short_settings
from optimizer.service.problems import NotFound
from optimizer.service.routes.models import list_files, list_models, show_plan
from optimizer.settings import SAMPLERS
from optimizer.store.location import without_password

FIELDS = (
    "model", "budget", "study", "units", "types", "search_text", "report_text", "prompts", "imatrix", "prune",
    "sampler", "trials", "hours",
)  # fmt: skip
"""Settings with a field of their own; all others are lines of YAML below."""
NUMBERS = {"prune": int, "trials": int, "hours": float}
SHOWN = {"budget": "IQ4_XS", "units": "layers", "sampler": "layerquant", "trials": "100"}
IQ_TENSOR_TYPES = ("Q2_K", "Q3_K", "IQ3_S", "IQ4_XS", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K", "Q8_0")

router = page_router()


@router.get("/new")
def show(request: Request, here: Here, config: str = "") -> Response:
    """config: a file of configs/ to start from."""
    files, models = list_files(here), list_models(here)
    for name in ("texts", "imatrices"):
        files[name] = [short_name(here.places, path) for path in files[name]]
    for model in models["models"]:
        model["path"] = short_name(here.places, model["path"])
    if config and config not in files["configs"]:
        raise NotFound(f"there is no configuration {config!r:.80}; shipped are {', '.join(files['configs'])}")
    tree = dict(read_yaml(BUNDLED / "configs" / f"{config}.yaml")) if config else {}
    fields = SHOWN | {name: _shown(tree.pop(name)) for name in FIELDS if name in tree}
    values = {name: fields.get(name, "") for name in FIELDS}
    rest = yaml.safe_dump(tree, sort_keys=False) if tree else ""
    return render(
        request, "new.html.j2", values=values, rest=rest, config=config, files=files, samplers=SAMPLERS,
        models=models["models"], folders=models["folders"],
        type_sets={
            "layers": {"K-quants (default)": "", "K-quants, 3 to 6 bits": ",".join(K_LAYER_TYPES[1:12])},
            "tensors": {
                "K-quants (default)": "", "K- and IQ-quants": ",".join(IQ_TENSOR_TYPES),
                "K-quants without Q2_K": ",".join(K_TENSOR_TYPES[1:]),
            },
        },
        configs=[name for name in files["configs"] if name != "layer_types"],
    )  # fmt: skip


@router.get("/new/preview")
def preview(request: Request, here: Here) -> Response:
    """Sizes, YAML and command for the form's values; what is wrong with them is said in their place."""
    given = request.query_params
    if not given.get("model", "").strip():
        return render(request, "new_preview.html.j2", error="", later="", plan=None, yaml="", command="")
    plan: dict[str, Any] | None = None
    error = later = text = command = ""
    try:
        tree = settings_of(given)
        text, command = what_runs(here, tree)
        plan = _plan(here, tree)
    except DownloadError as away:
        later = str(away)
    except (LayerquantError, EvaluationError) as problem:
        error = str(problem)
        plan = plan or _plan_without_budget(here, given)
    return render(request, "new_preview.html.j2", error=error, later=later, plan=plan, yaml=text, command=command)


def settings_of(given: QueryParams) -> dict[str, Any]:
    """The settings that a form holds; empty fields are left to their defaults. Raises ConfigError."""
    rest = given.get("rest", "").strip()
    tree = launching.read_settings(rest) if rest else {}
    for name in FIELDS:
        value = given.get(name, "").strip()
        if not value:
            continue
        try:
            tree[name] = NUMBERS.get(name, str)(value)
        except ValueError:
            raise ConfigError(f"{name} {value!r:.80} is no number") from None
    return tree


def what_runs(here: Service, tree: dict[str, Any]) -> tuple[str, str]:
    """The YAML that is launched, and the command that it queues, with the files by short names: both are what is
    written down and run, where those names are found. Raises ConfigError or Refused.
    """
    config = here.places.confine(SearchConfig.load(None, tree))
    name = study_name_of(config, config.model.rpartition("/")[2].removesuffix(".gguf"))
    kept = config.model_copy(update={"study": name}).model_dump(mode="json", exclude_defaults=True)
    path = here.settings.workplace.study_folder(name) / launching.CONFIG_NAME
    words = ["layerquant", "search", str(path.resolve()), "--study", name, *launching.where(here)]
    database = here.settings.workplace.database
    words += ["--database", without_password(database)] if database else []
    shown = short_settings(here.places, json.loads(json.dumps(kept)))
    return yaml.safe_dump(shown, sort_keys=False), short_command(words)


def _plan(here: Service, tree: dict[str, Any]) -> dict[str, Any]:
    model, types = str(tree["model"]), tree.get("types")
    named = types if isinstance(types, str) or types is None else ",".join(types)
    return show_plan(here, model, tree.get("budget"), str(tree.get("units", "layers")), named, tree.get("imatrix"))


def _plan_without_budget(here: Service, given: QueryParams) -> dict[str, Any] | None:
    """The feasible range is worth most where the budget lies outside."""
    try:
        return show_plan(here, given.get("model", "").strip(), None, given.get("units") or "layers", None, None)
    except (LayerquantError, EvaluationError):
        return None


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
