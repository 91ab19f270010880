"""The two texts of a search: one to choose by, one to report on. They must not be the same."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from evaluators.evaluator import Evaluator, Progress
from optimizer.config import BUNDLED, SearchConfig
from optimizer.errors import ConfigError
from optimizer.gguf.model_file import ModelFile
from optimizer.search.measuring import MeasuredText
from optimizer.sources import FoundText, find_text
from optimizer.store import Store

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


def prepare_text(
    store: Store,
    evaluator: Evaluator,
    model: ModelFile,
    choice: TextChoice,
    chunks: int,
    references: Path,
    progress: Progress | None = None,
    *,
    imatrix_sha256: str | None = None,
) -> MeasuredText:
    """Compute what is missing of the model's reference logits on the first `chunks` chunks of a text.

    The folder's name follows from model, text, settings and engine, so references are shared by all studies and never
    mixed; what candidates score is kept apart by imatrix as well. A text shorter than `chunks` gives fewer chunks.
    Raises TextError when it is too short for one.
    """
    settings = {
        "runtime": evaluator.settings.as_dict(),
        "engine": evaluator.engine().identity,
        "reference": model.fingerprint,
    }
    settings_key = store.add_settings(settings)
    name = hashlib.sha256(json.dumps([settings_key, choice.sha256]).encode()).hexdigest()[:16]
    available = evaluator.tokenize(model.paths, choice.path).n_chunks(evaluator.settings.ctx_size)
    wanted = max(1, min(chunks, available))  # a text without one whole chunk is the evaluator's to refuse
    reference = evaluator.build_reference(
        model.paths, choice.path, references / name, chunks=wanted, identity=model.fingerprint, progress=progress
    )
    if imatrix_sha256 is not None:  # the reference is the same, the candidates' tensors are not
        settings_key = store.add_settings({**settings, "imatrix": imatrix_sha256})
    record = store.add_text(sha256=choice.sha256, path=str(choice.path), n_bytes=choice.path.stat().st_size)
    return MeasuredText(
        text_id=record.id,
        sha256=choice.sha256,
        path=choice.path,
        reference=reference.folder,
        settings_key=settings_key,
        n_chunks=wanted,
        tokens_per_chunk=evaluator.settings.ctx_size,
    )
