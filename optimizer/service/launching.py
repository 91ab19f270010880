"""From settings that somebody sent to a search in the queue: checked, confined, planned, written down."""

import json
import re
from contextlib import suppress
from typing import Any

import yaml

from optimizer.commands.plan import planned
from optimizer.commands.search import study_name_of
from optimizer.config import SearchConfig
from optimizer.errors import ConfigError, DownloadError, ImatrixError, StudyError
from optimizer.search.planning import make_plan
from optimizer.search.texts import choose_texts
from optimizer.service.context import Service
from optimizer.service.jobs import Job
from optimizer.sources import open_model
from optimizer.sources.hub_name import HubName, is_hub_name
from optimizer.text_files import write_text

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
RESERVED = frozenset({"bank", "references", "imatrices", "service", "mlruns", "mlartifacts", "exports"})
"""Folders beside the studies' own."""
CONFIG_NAME = "config.yaml"
MAX_DEPTH = 10


def read_settings(text: str) -> dict[str, Any]:
    """YAML (or JSON, which is YAML): not deep, and without references, which could make a page of text a terabyte."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError("settings with YAML references (*name) are not taken; write them out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ConfigError(f"the settings are no YAML of a search: lists in lists, {MAX_DEPTH} deep")
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"the settings are no readable YAML: {str(error)[:300]}") from None
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise ConfigError("settings are `key: value` lines; see configs/ for examples")
    return tree


def launch(here: Service, tree: dict[str, Any], by: str) -> Job:
    """Queues a new study. Every refusal that planning knows comes before anything is written.

    Raises InputError, Refused, or StudyError where the name is taken.
    """
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError):
        raise ConfigError("the settings hold half a character, a date, or lists without end") from None
    config = on_cluster(here, here.places.confine(SearchConfig.load(None, tree)))
    name = _check(here, config)
    if here.store.find_study(name) is not None:
        raise StudyError(f"there is a study {name} already; resume it, or give another name as `study`")
    folder = here.settings.workplace.study_folder(name)
    if folder.exists() and not (folder / CONFIG_NAME).exists():
        raise StudyError(f"{name} is the name of something else in the studies' folder; give another name as `study`")
    arguments = ["search", str((folder / CONFIG_NAME).resolve()), "--study", name, *where(here)]
    here.audit.write(by, "search", study=name, model=config.model, budget=config.budget)
    kept = config.model_copy(update={"study": name}).model_dump(mode="json", exclude_defaults=True)
    with here.launching:
        here.supervisor.check_free(name)
        write_text(folder / CONFIG_NAME, yaml.safe_dump(json.loads(json.dumps(kept)), sort_keys=False))
        return here.supervisor.submit("search", name, arguments, by)


def resume(here: Service, name: str, by: str, *, trials: int | None, hours: float | None) -> Job:
    """Queues a study that is there, or one whose first search never reached the database."""
    record, before = here.store.find_study(name), here.supervisor.job_of(name)
    more = [*(["--trials", str(trials)] if trials else []), *(["--hours", str(hours)] if hours else [])]
    if record is None and before is not None:
        arguments = [*before.arguments, *more]
    else:
        arguments = ["resume", here.study(name).name, *more, *where(here), *_cluster_options(here)]
    here.supervisor.check_free(name)
    here.audit.write(by, "resume", study=name)
    return here.supervisor.submit("search", name, arguments, by)


def where(here: Service) -> list[str]:
    """The options that make a command work in this service's folder; it finds the database in its environment."""
    workplace = here.settings.workplace
    return [
        "--studies", str(workplace.studies.resolve()),
        *(["--bank", str(workplace.bank.resolve())] if workplace.bank else []),
    ]  # fmt: skip


def _cluster_options(here: Service) -> list[str]:
    """The service's own cluster and certificates, for `resume`; none where searches run on this machine."""
    execution = here.settings.execution
    names = ("cluster", "tls_ca", "tls_cert", "tls_key") if execution.cluster else ()
    found = ((name, getattr(execution, name)) for name in names)
    return [word for name, value in found if value for word in (f"--{name.replace('_', '-')}", value)]


def on_cluster(here: Service, config: SearchConfig) -> SearchConfig:
    """The settings with the service's own cluster, where it has one."""
    if here.settings.execution.cluster is None:
        return config
    asked = {"workers": config.execution.workers, "round": config.execution.round}
    return config.model_copy(update={"execution": here.settings.execution.model_copy(update=asked)})


def _check(here: Service, config: SearchConfig) -> str:
    """The study's name, after everything that planning would refuse has been."""
    if is_hub_name(config.model):
        stem = (HubName.parse(config.model).file or config.model).rpartition("/")[2].removesuffix(".gguf")
        name = study_name_of(config, stem)
        _plan_by_header(here, config)
    else:
        name = study_name_of(config, config.model.rpartition("/")[2].removesuffix(".gguf"))
        with here.planning, suppress(*([ImatrixError] if config.imatrix == "auto" else [])):
            make_plan(config.model_copy(update={"imatrix": None}) if config.imatrix == "auto" else config)
        if not any(is_hub_name(text or "") for text in (config.search_text, config.report_text)):
            choose_texts(config, None)
    if not STUDY_NAME.fullmatch(name) or name in RESERVED:
        raise ConfigError(f"{name!r:.120} cannot be a study's name; use letters, digits, and . _ - between them")
    return name


def _plan_by_header(here: Service, config: SearchConfig) -> None:
    """For a model of the hub, which is fetched when the search starts; where the hub is away, that will say so."""
    matrix = None if config.imatrix == "auto" else config.imatrix
    try:
        open_model(config.model, planning=True)
    except DownloadError:
        return
    with here.planning, suppress(*([ImatrixError] if config.imatrix == "auto" else [])):
        planned(
            config.model, config.budget, imatrix=matrix, units=config.units,
            types=",".join(config.types) if config.types else None,
            allow_requantize=config.quantization.allow_requantize,
        )  # fmt: skip
