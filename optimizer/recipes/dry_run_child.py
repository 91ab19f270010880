"""The child of `optimizer.recipes.dry_run`: `python -m optimizer.recipes.dry_run_child MODEL PRUNED PRESET...`.

PRUNED is a list of layers with commas, or empty; a PRESET may end in "+imatrix".
"""

import ctypes
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from optimizer.recipes.dry_run import FTYPES, LOG_TAIL, WITH_IMATRIX, parse_log


def _bindings() -> Any:
    """`llama_cpp.llama_cpp` without the package around it, whose other modules take four fifths of its start."""
    found = find_spec("llama_cpp")
    assert found is not None
    package = ModuleType("llama_cpp")
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules["llama_cpp"] = package
    return import_module("llama_cpp.llama_cpp")


def _main(arguments: Sequence[str]) -> int:
    llama_cpp = _bindings()
    model, pruned, *words = arguments
    log: list[bytes] = []

    def keep(level: int, text: bytes, user_data: int) -> None:
        log.append(text)

    callback = llama_cpp.llama_log_callback(keep)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.dry_run, parameters.nthread, parameters.allow_requantize = True, 1, True
    layers = [int(layer) for layer in pruned.split(",") if layer]
    if layers:
        parameters.prune_layers = (ctypes.c_int32 * (len(layers) + 1))(*layers, -1)
    any_imatrix = (llama_cpp.llama_model_imatrix_data * 2)()  # a dry run only asks whether there is one
    any_imatrix[0].name, any_imatrix[0].size = b"any", 0
    results: dict[str, object] = {}
    for word in words:
        log.clear()
        parameters.ftype = FTYPES[word.removesuffix(WITH_IMATRIX)]
        parameters.imatrix = any_imatrix if word.endswith(WITH_IMATRIX) else None
        refused = llama_cpp.llama_model_quantize(os.fsencode(model), b"", ctypes.byref(parameters))
        text = b"".join(log).decode("utf-8", errors="replace")
        if refused:
            results[word] = "\n".join(text.strip().splitlines()[-LOG_TAIL:])
            continue
        run = parse_log(text)
        fallbacks = [(name, wanted, given) for name, (wanted, given) in run.fallbacks.items()]
        results[word] = {"source": run.source_types, "target": run.target_types, "fallbacks": fallbacks}
    json.dump(results, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
