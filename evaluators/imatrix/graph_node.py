"""ggml's tensor struct, read in place while a graph is computed: the binding behind `cb_eval`.

The layout is that of ggml.h in the pinned llama.cpp; `require_known_layout` refuses a library whose struct has another
size, so that no other version is ever misread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import llama_cpp.llama_cpp as low
import numpy as np
from numpy.typing import NDArray

from evaluators.errors import EvaluationError

_OBJECT_BYTES = 32  # GGML_OBJECT_SIZE, part of ggml_tensor_overhead
F32, I32 = 0, 26  # ggml_type


class Node(ctypes.Structure):
    """struct ggml_tensor."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
        ("extra", ctypes.c_void_p),
        ("padding", ctypes.c_char * 8),
    )


# (address of the node, asked whether it is wanted, user data) -> wanted, or go on.
Callback: Callable[[Any], Any] = low.ggml_backend_sched_eval_callback


@lru_cache(maxsize=1)
def require_known_layout() -> None:
    """Raises EvaluationError when the loaded library's tensor struct is another than the one read here."""
    overhead = low._lib.ggml_tensor_overhead
    overhead.restype, overhead.argtypes = ctypes.c_size_t, []
    if overhead() != _OBJECT_BYTES + ctypes.sizeof(Node):
        raise EvaluationError(
            f"this llama.cpp's tensors take {overhead()} bytes, those that activations can be read from "
            f"{_OBJECT_BYTES + ctypes.sizeof(Node)}; install the pinned llama-cpp-python again (make setup)"
        )


@lru_cache(maxsize=1)
def operations() -> dict[str, int]:
    """Name of an operation -> its number in this library."""
    name = low._lib.ggml_op_name
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.c_int]
    # Both are among the first; asking beyond the last is not allowed.
    return {name(number).decode(): number for number in range(48)}


def weight_name(node: Node) -> str:
    """The name without a device's prefix and a copy's number: CUDA0#blk.0.attn_k.weight#0 is blk.0.attn_k.weight."""
    parts: list[str] = node.name.decode("utf-8", "replace").split("#")
    return parts[0] if len(parts) == 1 else parts[1]


class NodeReader:
    """A node's values as an array: in llama.cpp's own memory, or copied from a device into memory kept for that."""

    def __init__(self) -> None:
        self._is_host = low._lib.ggml_backend_buffer_is_host
        self._is_host.restype, self._is_host.argtypes = ctypes.c_bool, [ctypes.c_void_p]
        self._get = low._lib.ggml_backend_tensor_get
        self._get.restype = None
        self._get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
        self._copy = np.empty(0, dtype=np.uint8)

    def floats(self, address: int, node: Node) -> NDArray[np.float32]:
        """Every float32 from the node's first byte to its last, flat; strides are the node's. Use it, never keep it."""
        size = _span(node)
        if self._is_host(node.buffer):
            memory = (ctypes.c_char * size).from_address(node.data)
            return np.frombuffer(memoryview(memory), dtype=np.float32)
        if self._copy.size < size:
            self._copy = np.empty(size, dtype=np.uint8)
        self._get(address, self._copy.ctypes.data, 0, size)
        return self._copy[:size].view(np.float32)

    def integers(self, address: int, node: Node) -> NDArray[np.int32]:
        """[ne1, ne0], contiguous, of an int32 node of two dimensions that need not be contiguous itself."""
        size = _span(node)
        raw = np.empty(size, dtype=np.uint8)
        self._get(address, raw.ctypes.data, 0, size)
        shape, strides = (node.ne[1], node.ne[0]), (node.nb[1], node.nb[0])
        return np.ascontiguousarray(np.ndarray(shape, np.int32, raw.data, strides=strides))


def _span(node: Node) -> int:
    """ggml_nbytes of a type without blocks."""
    return 4 + sum(int(count - 1) * int(stride) for count, stride in zip(node.ne, node.nb, strict=True))
