"""The two texts of a search: one to choose by, one to report on. They must not be the same."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluators.evaluator import Progress
from optimizer.config import SearchConfig
from optimizer.errors import ConfigError
from optimizer.named_files import BUNDLED
from optimizer.search.scoring import MeasuredText
from optimizer.sources import FoundText, find_text

if TYPE_CHECKING:
    from optimizer.search.bench import Bench

BUNDLED_TEXTS = {"search": BUNDLED / "demo/texts/search.txt", "report": BUNDLED / "demo/texts/report.txt"}


@dataclass(frozen=True)
class TextChoice:
    """`bundled`: no text was given and layerquant's own is used. `origin`: the file of the hub that it came from."""

    path: Path
    sha256: str
    bundled: bool
    origin: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """What a report says of the text."""
        return {"path": str(self.path), "sha256": self.sha256, "origin": self.origin}


def choose_text(name: str | None, role: str, *, beside: Path | None = None) -> TextChoice:
    """The text of that name, or the bundled one of that role ("search" or "report")."""
    found = FoundText(BUNDLED_TEXTS[role]) if name is None else find_text(name, beside=beside)
    return TextChoice(found.path, found.sha256, name is None, found.origin)


def choose_texts(config: SearchConfig, beside: Path | None = None) -> tuple[TextChoice, TextChoice]:
    """Search text and report text; refused when they are the same."""
    search = choose_text(config.search_text, "search", beside=beside)
    report = choose_text(config.report_text, "report", beside=beside)
    if search.sha256 == report.sha256:
        raise ConfigError(
            f"search text and report text are the same ({search.path}); a winner must be reported on text that it was "
            "not chosen on: give another file with --report-text"
        )
    return search, report


def prepare_text(bench: "Bench", choice: TextChoice, chunks: int, progress: Progress | None = None) -> MeasuredText:
    """Have what is missing computed of the model's reference logits on the first `chunks` chunks of a text.

    The reference's name follows from model, text, settings and engine, so references are shared by all studies and
    never mixed; what candidates score is kept apart by imatrix as well. A text shorter than `chunks` gives fewer
    chunks. Raises TextError when it is too short for one.
    """
    store, scorer, plan = bench.store, bench.scorer, bench.plan
    settings = {
        "runtime": scorer.settings.as_dict(),
        "engine": scorer.engine().identity,
        "reference": plan.model.fingerprint,
    }
    settings_key = store.add_settings(settings)
    name = hashlib.sha256(json.dumps([settings_key, choice.sha256]).encode()).hexdigest()[:16]
    wanted = max(1, min(chunks, scorer.count_chunks(choice.path)))  # a text without a chunk is the scorer's to refuse
    reference = scorer.make_reference(choice.path, choice.sha256, name, wanted, progress)
    if plan.imatrix is not None:  # the reference is the same, the candidates' tensors are not
        settings_key = store.add_settings({**settings, "imatrix": plan.imatrix.sha256})
    record = store.add_text(sha256=choice.sha256, path=str(choice.path), n_bytes=choice.path.stat().st_size)
    return MeasuredText(
        text_id=record.id,
        sha256=choice.sha256,
        path=choice.path,
        reference=reference,
        settings_key=settings_key,
        n_chunks=wanted,
        tokens_per_chunk=scorer.settings.ctx_size,
    )
