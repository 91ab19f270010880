"""What to say of a checkpoint for transformers: layerquant reads GGUFs, and llama.cpp's converter makes one of it."""

import json
from pathlib import Path

from optimizer.errors import GgufError

_WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth")
_OUT_TYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}


def is_checkpoint_file(path: str) -> bool:
    return path.lower().endswith(_WEIGHTS)


def refuse_checkpoint(path: Path) -> None:
    """Raises GgufError, with the command to run, for a folder or for a file of a checkpoint; returns for all others."""
    folder = path if path.is_dir() else path.parent
    if path.is_file() and not is_checkpoint_file(path.name):
        return
    if not path.is_dir() and not path.is_file():
        return
    files = sorted(each.name for each in folder.iterdir())
    models = [each for each in files if each.lower().endswith(".gguf")]
    if path.is_dir() and models:
        shown = ", ".join(models[:6]) + (f" and {len(models) - 6} more" if len(models) > 6 else "")
        raise GgufError(f"{path} is a folder; give the GGUF in it: {shown}")
    if path.is_dir() and not any(is_checkpoint_file(each) for each in files):
        raise GgufError(f"{path} is a folder without a GGUF; give a GGUF file, or any part of a split one")
    out_type = _out_type(folder / "config.json")
    absolute = folder.absolute()
    raise GgufError(
        f"{path} is a checkpoint for transformers, not a GGUF; convert it with llama.cpp's convert_hf_to_gguf.py: "
        f"python convert_hf_to_gguf.py {absolute} --outtype {out_type} "
        f"--outfile {absolute.name}-{out_type.upper()}.gguf, and give that file (docs/sources.md says where to get it)"
    )


def _out_type(config: Path) -> str:
    """The converter's --outtype that keeps the checkpoint's own precision; bf16 where it does not say."""
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
        settings = {**settings, **settings.get("text_config", {})}
        return _OUT_TYPES.get(str(settings.get("dtype") or settings.get("torch_dtype")), "bf16")
    except (OSError, ValueError, AttributeError, TypeError):
        return "bf16"
