"""What can go wrong, as one tree. Every message names the thing, the reason and the way out.

LayerquantError
├── InputError          what the user gave cannot be used (exit code 2)
│   ├── GgufError       a file that is no GGUF, is truncated, lacks a split or a tokenizer
│   ├── RecipeError     a layer type, LAYER_TYPES string or tensor type that does not fit the model
│   ├── BudgetError     a budget nobody can meet, or one that cannot be read
│   ├── ImatrixError    an importance matrix that is missing, damaged or another model's
│   └── ConfigError     a setting, a text or a file name that cannot be used
├── StudyError          a study that is held, missing, unfinished or was started with other settings
├── StorageError        the disk is full, or what lies on it is not what was written
├── DownloadError       a hub that does not answer, or a download that breaks off
└── EngineError         llama.cpp or a child process failed
"""


class LayerquantError(Exception):
    """Base of all errors that a user may meet; `exit_code` is what the command line ends with."""

    exit_code = 1


class InputError(LayerquantError):
    exit_code = 2


class GgufError(InputError):
    pass


class RecipeError(InputError):
    pass


class BudgetError(InputError):
    pass


class ImatrixError(InputError):
    pass


class ConfigError(InputError):
    pass


class StudyError(LayerquantError):
    pass


class StorageError(LayerquantError):
    pass


class DownloadError(LayerquantError):
    pass


class EngineError(LayerquantError):
    pass
