"""Which GGUF of a repository to search from, where none was named: the one with full-precision weights."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from optimizer.errors import ConfigError
from optimizer.gguf.splits import parts_of
from optimizer.sources.checkpoint import is_checkpoint_file
from optimizer.sources.hub_name import HubName

SHOWN = 12

_FULL_PRECISION = re.compile(r"(?<![a-z0-9])(?:bf16|f16|fp16|f32|fp32)(?![a-z0-9])", re.IGNORECASE)
_QUANTIZED = re.compile(r"(?<![a-z0-9])(?:i?q[1-8](?:_[a-z0-9]+)*|tq[12]_0|mxfp4\w*|nvfp4)(?![a-z0-9])", re.IGNORECASE)
_NO_MODEL = re.compile(r"mmproj|imatrix|(?<![a-z])lora(?![a-z])|(?<![a-z])vocab(?![a-z])", re.IGNORECASE)


def choose_model(name: HubName, files: Sequence[str]) -> str:
    """The file to search from, or the first part of it.

    A file counts as full precision when F16, BF16 or F32 stands in its own name, or else in its folder's; where no
    name says anything and there is one model, it is that one. Raises ConfigError with the candidates otherwise.
    """
    models = _first_parts([each for each in files if each.lower().endswith(".gguf") and not _NO_MODEL.search(each)])
    wanted = [each for each in models if _is_full_precision(each)]
    if len(wanted) == 1:
        return wanted[0]
    if wanted:
        raise ConfigError(f"{name.base} has several full-precision GGUFs; name one: {_shown(name, wanted)}")
    if len(models) == 1 and not _QUANTIZED.search(models[0]):
        return models[0]
    if models:
        raise ConfigError(
            f"{name.base} has no GGUF that is F16, BF16 or F32 by its name; a search starts from one of those, so "
            f"take another repository or convert the original (docs/sources.md). What is there: {_shown(name, models)}"
        )
    if any(is_checkpoint_file(each) for each in files):
        raise ConfigError(
            f"{name.base} holds a checkpoint for transformers and no GGUF; convert it with llama.cpp's "
            f"convert_hf_to_gguf.py: `hf download {name.repository} --local-dir FOLDER`, then `python "
            "convert_hf_to_gguf.py FOLDER --outtype bf16 --outfile MODEL-BF16.gguf` (docs/sources.md says where to "
            "get it); or look for a repository of its GGUFs"
        )
    raise ConfigError(f"{name.base} holds no GGUF; what is there: {_shown(name, sorted(files))}")


def all_parts(name: HubName) -> list[HubName]:
    """The named file, or all parts of the split model that it is a part of."""
    assert name.file is not None
    return [name.with_file(each) for each in parts_of(name.file)]


def _is_full_precision(path: str) -> bool:
    pure = PurePosixPath(path)
    if _FULL_PRECISION.search(pure.stem):
        return True
    return not _QUANTIZED.search(pure.stem) and bool(_FULL_PRECISION.search(str(pure.parent)))


def _first_parts(files: Sequence[str]) -> list[str]:
    """Single files, and split models by their first part; that all others are there is seen when they are fetched."""
    return sorted({parts_of(each)[0] for each in files} & set(files))


def _shown(name: HubName, files: Sequence[str]) -> str:
    listed = ", ".join(str(name.with_file(each)) for each in files[:SHOWN])
    return (listed or "nothing") + (f" and {len(files) - SHOWN} more" if len(files) > SHOWN else "")
