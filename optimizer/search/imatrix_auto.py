"""`imatrix: auto`: the search makes its importance matrix itself, once, from a text of its own."""

from contextlib import suppress
from pathlib import Path

from evaluators.process import EvaluatorProcess
from optimizer.config import SearchConfig
from optimizer.errors import ConfigError, ImatrixError
from optimizer.gguf.model_file import ModelFile
from optimizer.named_files import BUNDLED
from optimizer.progress import Reporter
from optimizer.quantization.imatrix_making import ImatrixOrder, kept_path, make_kept
from optimizer.search.bench import EvaluatorFactory, runtime_settings
from optimizer.search.planning import make_plan
from optimizer.search.texts import TextChoice, choose_text, choose_texts
from optimizer.sources import open_model
from optimizer.workplace import Workplace

AUTO = "auto"
_BUNDLED_MODEL, _BUNDLED_TEXT = BUNDLED / "demo/model/demo-F16.gguf", BUNDLED / "demo/texts/imatrix.txt"


def with_imatrix(
    config: SearchConfig,
    workplace: Workplace,
    reporter: Reporter,
    *,
    beside: Path | None = None,
    evaluator_factory: EvaluatorFactory = EvaluatorProcess,
) -> SearchConfig:
    """The settings with a file in the place of `auto`: found in the workplace, or made now and kept there.

    Everything that planning would refuse is refused before. Interrupted, the next call goes on.

    Raises:
        ConfigError: no imatrix text was given, or it is the search text or the report text.
    """
    if config.imatrix != AUTO:
        return config
    model = open_model(config.model, beside=beside)
    choice = choose_imatrix_text(config, model, beside=beside)
    dataset = choice.origin or config.imatrix_text or choice.path.name
    order, settings = ImatrixOrder(choice.path, config.imatrix_chunks, dataset), runtime_settings(config)
    path = kept_path(settings, model, order, choice.sha256, workplace.imatrices)
    if not path.exists():
        with suppress(ImatrixError):  # types that only an imatrix allows
            make_plan(config.model_copy(update={"imatrix": None}), beside=beside)
        reporter.phase("importance matrix", 1)
        evaluator = evaluator_factory(settings)
        try:
            make_kept(evaluator, model, order, path, lambda done, total: reporter.work(done, total))
        finally:
            evaluator.close()
    reporter.line(f"importance matrix: {path}, made of {choice.path}")
    kept = {"imatrix": str(path.absolute()), "imatrix_text": choice.origin or str(choice.path.absolute())}
    return config.model_copy(update=kept)


def choose_imatrix_text(config: SearchConfig, model: ModelFile, *, beside: Path | None = None) -> TextChoice:
    """The text that an importance matrix is made of; it must be another than those that candidates are measured on."""
    name = config.imatrix_text
    if name is None:
        if not any(path.exists() and path.samefile(_BUNDLED_MODEL) for path in model.paths if _BUNDLED_MODEL.exists()):
            raise ConfigError(
                "imatrix auto needs a text to make the importance matrix of: give one with --imatrix-text FILE (or "
                "imatrix_text in the settings) that is neither search text nor report text, or a file with --imatrix"
            )
        name = str(_BUNDLED_TEXT)
    choice = choose_text(name, "imatrix", beside=beside)
    for role, other in zip(("search", "report"), choose_texts(config, beside), strict=True):
        if choice.sha256 == other.sha256:
            raise ConfigError(
                f"imatrix text and {role} text are the same ({choice.path}); what candidates are measured on must not "
                "have shaped them: give another file with --imatrix-text"
            )
    return choice
