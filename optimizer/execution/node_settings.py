"""Where a worker keeps things, told to its process in the environment."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ENVIRONMENT = "LAYERQUANT_NODE"
"""Variable that carries a node's settings to its worker process, as JSON."""
EVALUATOR = "evaluators.process:EvaluatorProcess"


@dataclass(frozen=True)
class NodeSettings:
    """folder: for references and files sent here. bank: the shard bank, by default in the folder; both may be shared by
    several nodes. models: folders to look for models in. threads: that an evaluator may use here; None: all cores.
    evaluator: `module:name` of what makes one of its settings.
    """

    folder: str
    bank: str | None = None
    models: tuple[str, ...] = ()
    threads: int | None = None
    bank_gib: float | None = None
    evaluator: str = EVALUATOR

    @classmethod
    def of_environment(cls) -> "NodeSettings":
        """Those of `layerquant worker`; of a plain Dask worker a folder below that for temporary files."""
        text = os.environ.get(ENVIRONMENT)
        if text is None:
            return cls(str(Path(tempfile.gettempdir()) / "layerquant-node"))
        values = json.loads(text)
        return cls(**{**values, "models": tuple(values["models"])})

    def as_environment(self) -> dict[str, str]:
        return {ENVIRONMENT: json.dumps(asdict(self))}

    @property
    def bank_folder(self) -> Path:
        return Path(self.bank) if self.bank else Path(self.folder) / "bank"

    @property
    def references(self) -> Path:
        return Path(self.folder) / "references"


def kept_file(settings: NodeSettings, sha256: str) -> Path:
    return Path(settings.folder) / "files" / sha256
