"""Makes quantized tensors, keeps them as shards, and gives candidates: files that llama.cpp loads as one model.

It may read the source model and write into a bank, a link folder or one output file. It knows nothing of studies,
scores or SQL.
"""

from optimizer.quantization.bank import BankStats, ShardBank
from optimizer.quantization.candidate import Candidate, assemble, link_folder, plan_candidate
from optimizer.quantization.file_type import file_type_of
from optimizer.quantization.imatrix import Imatrix, importance_for, needs_importance
from optimizer.quantization.join import join, quantize
from optimizer.quantization.open_files import raise_open_file_limit
from optimizer.quantization.storage import require_space
from optimizer.quantization.worker import QuantizationWorker, WorkerProgress

__all__ = [
    "BankStats",
    "Candidate",
    "Imatrix",
    "QuantizationWorker",
    "ShardBank",
    "WorkerProgress",
    "assemble",
    "file_type_of",
    "importance_for",
    "join",
    "link_folder",
    "needs_importance",
    "plan_candidate",
    "quantize",
    "raise_open_file_limit",
    "require_space",
]
