"""A study as a worker has it open: model, bank, quantization worker, evaluator and reference logits."""

import fcntl
from dataclasses import dataclass, field
from pathlib import Path

from evaluators.evaluator import Evaluator
from optimizer.execution.node_settings import NodeSettings, kept_file
from optimizer.execution.problems import FileLacking
from optimizer.execution.setup import ReferenceName, StudySetup, digest_of
from optimizer.gguf.model_file import ModelFile
from optimizer.quantization.bank import ShardBank
from optimizer.quantization.imatrix import Imatrix
from optimizer.quantization.imatrix_pairs import with_imatrix_pairs
from optimizer.quantization.storage import storage_errors
from optimizer.quantization.worker import QuantizationWorker
from optimizer.search.building import CandidateBuilder
from optimizer.search.local_scorer import LocalScorer
from optimizer.search.scoring import MeasuredText


@dataclass
class OpenedStudy:
    setup: StudySetup
    settings: NodeSettings
    scorer: LocalScorer
    _bank: ShardBank
    _worker: QuantizationWorker
    _texts: dict[ReferenceName, MeasuredText] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        setup: StudySetup,
        model: ModelFile,
        settings: NodeSettings,
        evaluator: Evaluator,
    ) -> "OpenedStudy":
        """Raises FileLacking where the imatrix is not here. The evaluator stays its owner's."""
        imatrix = _imatrix(setup, settings)
        model = with_imatrix_pairs(model, imatrix)
        cap = int(settings.bank_gib * 2**30) if settings.bank_gib else None
        bank = ShardBank(settings.bank_folder, cap_bytes=cap, allow_requantize=setup.allow_requantize)
        worker = QuantizationWorker(model, setup.quantizable, bank, imatrix)
        builder = CandidateBuilder(worker, ahead=False)
        scorer = LocalScorer(evaluator, builder, model, settings.references)
        return cls(setup, settings, scorer, bank, worker)

    def file(self, sha256: str, hint: str) -> Path:
        """A text: where the coordinator has it, or as it was sent. Raises FileLacking."""
        for path in (Path(hint), kept_file(self.settings, sha256)):
            if path.is_file() and digest_of(path) == sha256:
                return path
        raise FileLacking(sha256)

    def text(self, reference: ReferenceName) -> MeasuredText:
        """A text whose reference is there, on this many chunks at least. One process of a folder makes it at a time."""
        if reference not in self._texts:
            path = self.file(reference.text.sha256, reference.text.path)
            folder = self.settings.references
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                with (folder / f"{reference.name}.lock").open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    made = self.scorer.make_reference(path, reference.text.sha256, reference.name, reference.chunks)
            self._texts[reference] = MeasuredText(
                0, reference.text.sha256, path, made, "", reference.chunks, self.setup.settings.ctx_size
            )
        return self._texts[reference]

    def stop(self) -> None:
        """From another thread: nothing more is quantized, and who waits for shards is told."""
        self._worker.close()

    def close(self) -> None:
        self._worker.close()
        self._bank.close()


def _imatrix(setup: StudySetup, settings: NodeSettings) -> Imatrix | None:
    if setup.imatrix is None:
        return None
    for path in (Path(setup.imatrix.path), kept_file(settings, setup.imatrix.sha256)):
        if path.is_file():
            found = Imatrix.open(path)
            if found.sha256 == setup.imatrix.sha256:
                return found
    raise FileLacking(setup.imatrix.sha256)
