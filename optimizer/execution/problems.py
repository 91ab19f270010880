"""Why a worker did not do a job. All cross process borders, so each is made of one string.

LayerquantError
├── WorkerRefused     this worker cannot take part in the study; others can
├── FileLacking       it lacks a file that it can be sent; the message is the file's digest
├── WorkerLost        it ended, or was cut off, with the job under way
└── ClusterAway       the scheduler does not answer
EvaluationError
└── Quarantined       three workers ended with this job: the job is not given to a fourth
"""

from evaluators.errors import EvaluationError
from optimizer.errors import EngineError


class WorkerRefused(EngineError):
    pass


class FileLacking(EngineError):
    pass


class WorkerLost(EngineError):
    pass


class ClusterAway(EngineError):
    pass


class Quarantined(EvaluationError):
    pass
