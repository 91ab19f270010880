"""What can go wrong while a model is scored, as one tree. Every message names the thing, the reason and the way out.

EvaluationError               exit code 1: the work was right, something failed
├── EngineCrash               llama.cpp ended its process; the tail of its log is in the message
│   └── EngineKilled          its process was killed from outside: a user, or a machine without memory
├── EngineTimeout             a call took longer than it was allowed to
├── DecodeError               llama.cpp refused a batch, or the logits are not numbers
├── ReferenceDamaged          a stored reference is not what was written
├── DiskError                 there is no room for the reference
└── EvaluationInputError      exit code 2: what was given cannot be used
    ├── SettingsError         runtime settings that contradict each other or that llama.cpp does not know
    ├── ModelLoadError        llama.cpp does not load the file
    ├── TokenizerError        the model has no tokenizer
    ├── TextError             the text is missing, empty, or too short for one chunk
    └── ReferenceMismatch     the reference was made with another vocabulary, text, model or other settings
"""


class EvaluationError(Exception):
    """Base of all errors of this package; `exit_code` is what a command line ends with."""

    exit_code = 1


class EngineCrash(EvaluationError):
    pass


class EngineKilled(EngineCrash):
    pass


class EngineTimeout(EvaluationError):
    pass


class DecodeError(EvaluationError):
    pass


class ReferenceDamaged(EvaluationError):
    pass


class DiskError(EvaluationError):
    pass


class EvaluationInputError(EvaluationError):
    exit_code = 2


class SettingsError(EvaluationInputError):
    pass


class ModelLoadError(EvaluationInputError):
    pass


class TokenizerError(EvaluationInputError):
    pass


class TextError(EvaluationInputError):
    pass


class ReferenceMismatch(EvaluationInputError):
    pass
