"""What each parameter of a command is that a service runs: plain, a file that is read, a file that is written.

One that is not listed here, and every path, is taken for a file that is read: it is looked for in the service's folders
and nowhere else. So an option that a command gains later opens nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

RunCommand = Literal["eval", "quantize", "imatrix", "probe", "prompts check"]
RUN_COMMANDS: tuple[str, ...] = get_args(RunCommand)

ParameterKind = Literal[
    "plain", "file", "model", "text", "suite", "matrix", "layer types", "recipe", "settings", "output", "own"
]
"""`own`: the service has its own, and no request gives one. The others but `plain` and `output` may name a file."""

_KINDS: Mapping[ParameterKind, tuple[str, ...]] = {
    "model": ("model", "candidate", "reference"),
    "text": ("text", "search_text", "imatrix_text"),
    "suite": ("prompts", "suite"),
    "matrix": ("imatrix",),
    "layer types": ("layer_types",),
    "recipe": ("recipe",),
    "settings": ("assignments",),
    "file": ("answers", "chat_template", "tasks", "csv_in", "show_statistics"),
    "output": ("output", "transcripts", "html", "plot", "csv_out"),
    "own": ("studies", "database", "bank"),
    "plain": (
        "chunks", "parallel", "as_json", "plain", "threads", "allow_requantize", "token_embedding_type",
        "output_tensor_type", "prune_layers", "csv_format", "budget", "units", "types", "process_output", "save_every",
        "n_gpu_layers", "ctx_size", "batch_size", "ubatch_size", "flash_attn", "cache_type_k", "cache_type_v",
        "rope_scaling", "rope_freq_base", "rope_freq_scale", "yarn_orig_ctx", "yarn_ext_factor", "yarn_attn_factor",
        "yarn_beta_fast", "yarn_beta_slow", "no_repack",
    ),
}  # fmt: skip
KINDS: Mapping[str, ParameterKind] = MappingProxyType({name: kind for kind, names in _KINDS.items() for name in names})

SETTINGS_SECTIONS = ("evaluation", "quantization")
SETTINGS = frozenset({"probing", "probe_base", "imatrix_chunks", "seed"})
"""What `--set` may reach: settings of these sections and these names, none of which names a file."""


def kind_of(name: str, value: Any) -> ParameterKind:
    """value: as the command's own parser read it."""
    if isinstance(value, bool | int | float):
        return "plain"
    kind = KINDS.get(name, "file")
    return "file" if isinstance(value, Path) and kind in ("plain", "settings") else kind


def may_be_set(assignment: str) -> bool:
    """Whether a request may say this `key=value`."""
    key = assignment.partition("=")[0].strip()
    section, dot, _ = key.partition(".")
    return key in SETTINGS or (bool(dot) and section in SETTINGS_SECTIONS)
