"""Makes an importance matrix of a model and a text: the evaluator sums, the file is written here.

While it is in the making its sums lie beside it as `NAME.partial`; the same call goes on from there.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from evaluators.errors import ReferenceMismatch
from evaluators.evaluator import Evaluator, Progress
from evaluators.imatrix import SumsFile
from evaluators.settings import RuntimeSettings
from optimizer.errors import ConfigError
from optimizer.gguf.model_file import ModelFile
from optimizer.quantization.imatrix_writing import write_imatrix
from optimizer.text_files import make_folder


@dataclass(frozen=True, slots=True)
class ImatrixOrder:
    """What an importance matrix is made of. `chunks`: None for the whole text; `dataset`: the text's name in the file.

    `process_output`: cover the output matrix as well. `save_every`: chunks between two saves of what was summed.
    """

    text: Path
    chunks: int | None = None
    dataset: str | None = None
    process_output: bool = False
    save_every: int = 10


def make_imatrix(
    evaluator: Evaluator, model: ModelFile, order: ImatrixOrder, out: Path, progress: Progress | None = None
) -> int:
    """Make `out`, in the place of what is there; returns how many of its chunks an interrupted run had done.

    Raises:
        ConfigError: `out` is a folder, or the model.
        EvaluationError: of the evaluator; what was summed by then is kept for the next call.
    """
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; name the file to write with -o")
    if out.exists() and any(out.samefile(path) for path in (*model.paths, order.text)):
        raise ConfigError(f"{out} is what the importance matrix is made of; name another file with -o")
    make_folder(out.absolute().parent)
    partial = out.with_name(f"{out.name}.partial")
    collected = evaluator.collect_activations(
        model.paths, order.text, partial, identity=model.fingerprint, chunks=order.chunks,
        process_output=order.process_output, save_every=order.save_every, progress=progress,
    )  # fmt: skip
    write_imatrix(SumsFile.open(collected.path), out, dataset=order.dataset or str(order.text))
    partial.unlink(missing_ok=True)
    return collected.chunks_before


def kept_path(settings: RuntimeSettings, model: ModelFile, order: ImatrixOrder, text_sha256: str, folder: Path) -> Path:
    """Where in `folder` the importance matrix of this order is kept.

    The name follows from the model, the text and the settings that activations depend on, and not from llama.cpp's
    version: what a study began with serves it to the end.
    """
    named = {name: value for name, value in settings.as_dict().items() if name != "threads"}
    key = json.dumps([model.fingerprint, text_sha256, named, order.chunks, order.process_output], sort_keys=True)
    return folder / f"{model.paths[0].stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.gguf"


def make_kept(
    evaluator: Evaluator, model: ModelFile, order: ImatrixOrder, path: Path, progress: Progress | None = None
) -> None:
    """Make the importance matrix of `kept_path`. A text with fewer chunks than asked for is used whole."""
    available = evaluator.tokenize(model.paths, order.text).n_chunks(evaluator.settings.ctx_size)
    fits = order.chunks is not None and order.chunks < available
    wanted = replace(order, chunks=order.chunks if fits else None)
    try:
        make_imatrix(evaluator, model, wanted, path, progress)
    except ReferenceMismatch:  # another version of llama.cpp began it: nothing else is left open by the name
        path.with_name(f"{path.name}.partial").unlink()
        make_imatrix(evaluator, model, wanted, path, progress)
