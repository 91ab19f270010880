"""The prompt suite of a search: one half of it to choose by, the other to report on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluators.generation.settings import GenerationSettings
from evaluators.prompts.suite import Suite, load_suite
from optimizer.config import SearchConfig
from optimizer.errors import ConfigError
from optimizer.named_files import find_file, find_suite

if TYPE_CHECKING:
    from optimizer.store.records import Half  # SQLAlchemy takes half a second, and a plan needs none


@dataclass(frozen=True)
class Questions:
    """A suite, or one half of it."""

    suite: Suite
    half: Half = "whole"


@dataclass(frozen=True)
class SuiteChoice:
    """Both halves, and how their answers are generated. With a gate the report's half may be empty."""

    name: str
    search: Questions
    report: Questions
    settings: GenerationSettings

    @property
    def contents(self) -> list[str]:
        """Digests of what the suite and the chat template hold: a study keeps to them."""
        digests = [f"prompts:{self.search.suite.sha256}"]
        if self.settings.chat_template is not None:
            digests.append(f"chat template:{hashlib.sha256(self.settings.chat_template.encode()).hexdigest()}")
        return digests


def choose_suite(config: SearchConfig, *, beside: Path | None = None) -> SuiteChoice | None:
    """None where the settings name no suite. Raises ConfigError or SuiteError where it cannot be used."""
    if config.objective == "kld+prompts" and (config.prompts is None or not config.gate):
        raise ConfigError(
            "objective kld+prompts needs prompts, and the gate that chooses the winner; name a suite with --prompts, "
            "or set objective=kld"
        )
    if config.prompts is None:
        return None
    suite = load_suite(find_suite(config.prompts, beside=beside))
    search, report = search_and_report_half(suite, gate=config.gate)
    values = config.generation.model_dump(exclude_none=True)
    if config.generation.chat_template is not None:
        values["chat_template"] = read_template(find_file(config.generation.chat_template, beside=beside))
    return SuiteChoice(suite.name, search, report, GenerationSettings(**values))


def search_and_report_half(suite: Suite, *, gate: bool = True) -> tuple[Questions, Questions]:
    """Raises ConfigError where the half is empty that the work begins with: the gate's, or without one the report's."""
    search, report = suite.halves()
    if not (search if gate else report).prompts:
        needed, use = ("search", "to choose by") if gate else ("report", "to report on")
        raise ConfigError(
            f"suite {suite.name} has too few prompts: cut in two, its {needed} half is empty, and nothing is left "
            f"{use}; give a suite of two prompts or more"
        )
    return Questions(search, "search"), Questions(report, "report")


def read_template(path: Path) -> str:
    """A chat template's Jinja source. Raises ConfigError where the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"chat template {path} cannot be read ({error}); give a Jinja file") from None
