"""Watches llama.cpp compute a graph and sums the squares of what its weights are multiplied with.

llama.cpp asks of every node whether it is wanted, computes up to a wanted one, and calls again with its inputs still in
memory (ggml_backend_sched_compute_splits). Wanted are, as in llama-imatrix: every multiplication with chosen experts,
and those of 16 rows and more with a weight of a block, or with the output matrix where that is asked for.

Two things are done less often than there, with the same result. Weights that multiply the same node (Q, K and V; gate
and up) are summed once and copied, so that the computation is interrupted once for all of them. And nothing behind the
last wanted node is computed, which is mostly the multiplication with the output matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np

from evaluators.errors import DecodeError, EvaluationError
from evaluators.imatrix import squares
from evaluators.imatrix.graph_node import F32, I32, Callback, Node, NodeReader, operations, weight_name
from evaluators.imatrix.sums import ActivationSums, WeightSums

_FEWEST_ROWS = 16
_OUTPUT = "output.weight"


@dataclass(slots=True)
class _Last:
    """The node summed last: its operation and inputs, and its weight before and after."""

    inputs: tuple[int, int, int | None]
    name: str
    before: int
    weight: WeightSums


@dataclass(slots=True)
class _Order:
    """The wanted weights of the graph under way, and of whole ones seen before: where a graph's last one is."""

    current: list[tuple[str, int]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    whole: list[list[tuple[str, int]]] = field(default_factory=list)
    cut: bool = False

    def add(self, name: str, rows: int) -> None:
        if name in self.seen:  # each weight is used once a graph: a new graph begins
            self.end()
        self.seen.add(name)
        self.current.append((name, rows))

    def end(self) -> None:
        if self.current and not self.cut and self.current not in self.whole:
            self.whole.append(self.current)
        self.current, self.seen, self.cut = [], set(), False

    def is_whole(self) -> bool:
        return self.current in self.whole


class ActivationObserver:
    """`callback` goes into llama_context_params.cb_eval. An error in it ends the graph; `check` raises it later."""

    def __init__(self, sums: ActivationSums, *, process_output: bool = False) -> None:
        self.sums = sums
        self.callback: Any = Callback(self._called)
        self._process_output = process_output
        self._reader = NodeReader()
        self._mul_mat, self._mul_mat_id = operations()["MUL_MAT"], operations()["MUL_MAT_ID"]
        self._last: _Last | None = None
        self._order = _Order()
        self._error: BaseException | None = None

    def begin_batch(self) -> None:
        """Before each llama_decode: what a node was equal to in the last graph says nothing about this one."""
        self._last = None
        self._order.end()

    def check(self) -> None:
        """Raise what went wrong inside the callback, if anything did."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _called(self, address: int, asking: bool, _user_data: Any) -> bool:
        node = Node.from_address(address)
        if node.op != self._mul_mat and node.op != self._mul_mat_id:
            return False
        try:
            if self._error is not None:
                return asking  # as soon as a node is wanted, the graph ends
            return self._wanted(node) if asking else self._collect(node)
        except BaseException as error:  # ctypes would print it and go on
            self._error = error
            return asking

    def _wanted(self, node: Node) -> bool:
        weight, activations = Node.from_address(node.src[0]), Node.from_address(node.src[1])
        name = weight_name(weight)
        if node.op == self._mul_mat:
            if activations.ne[1] < _FEWEST_ROWS or activations.type != F32:
                return False
            if not name.startswith("blk.") and not (self._process_output and name == _OUTPUT):
                return False
        self._order.add(name, activations.ne[1] * activations.ne[2] * activations.ne[3])
        return not self._equals_last(node, weight, name)

    def _equals_last(self, node: Node, weight: Node, name: str) -> bool:
        """Take over the sums of the node before where this one multiplies the same activations."""
        last = self._last
        if last is None or last.inputs != self._inputs(node) or last.name == name:
            return False
        matrices = weight.ne[2] * weight.ne[3]
        if last.weight.sums.shape[0] != matrices:
            return False
        mine = self._sums_of(node, weight, name, last.weight.sums.shape[1])
        if mine.state != last.before:
            return False
        mine.take(last.weight)
        return True

    def _collect(self, node: Node) -> bool:
        weight, activations = Node.from_address(node.src[0]), Node.from_address(node.src[1])
        name, columns = weight_name(weight), activations.ne[0]
        if activations.type != F32 or activations.nb[0] != 4:
            raise EvaluationError(f"the activations of {name} are no rows of float32; they cannot be summed")
        mine = self._sums_of(node, weight, name, columns)
        if mine.sums.shape[1] != columns:
            raise EvaluationError(f"{name} is multiplied with rows of {mine.sums.shape[1]} and of {columns} values")
        before = mine.state
        data = self._reader.floats(node.src[1], activations)
        strides = np.array([stride // 4 for stride in activations.nb], dtype=np.int64)
        if node.op == self._mul_mat_id:
            self._add_experts(node, activations, mine, name, data, strides)
        else:
            shape = np.array(activations.ne[:], dtype=np.int64)
            if shape.prod() < squares.PARALLEL_FROM:
                squares.add_dense(data, strides, shape, mine.sums, weight.ne[2])
            else:
                tile = squares.share(columns, numba.get_num_threads())
                squares.add_dense_parallel(data, strides, shape, mine.sums, weight.ne[2], tile)
            mine.counts += activations.ne[1] * activations.ne[2] * activations.ne[3] // (weight.ne[2] * weight.ne[3])
        if not np.isfinite(mine.sums).all():
            raise DecodeError(
                f"the activations of {name} are not finite numbers, so they say nothing of its importance; "
                "the model may be damaged, or too large for its F16 range (try -fa off, or a BF16 source)"
            )
        mine.changed()
        self._last = _Last(self._inputs(node), name, before, mine)
        if self._order.is_whole():
            self._order.cut = True
            return False
        return True

    def _add_experts(
        self, node: Node, activations: Node, mine: WeightSums, name: str, data: squares.Floats, strides: Any
    ) -> None:
        chosen = Node.from_address(node.src[2])
        if chosen.type != I32 or activations.ne[3] != 1 or chosen.ne[1] != activations.ne[2]:
            raise EvaluationError(f"the experts of {name} are laid out in a way that is not known; please report it")
        experts = self._reader.integers(node.src[2], chosen)
        if experts.min() < 0 or experts.max() >= mine.sums.shape[0]:
            raise EvaluationError(f"{name} has {mine.sums.shape[0]} experts; another one was chosen")
        if experts.size * mine.sums.shape[1] < squares.PARALLEL_FROM:
            squares.add_experts(data, strides, activations.ne[1], experts, mine.sums)
        else:
            tile = squares.share(mine.sums.shape[1], numba.get_num_threads())
            squares.add_experts_parallel(data, strides, activations.ne[1], experts, mine.sums, tile)
        mine.counts += np.bincount(experts.reshape(-1), minlength=mine.counts.size)

    def _inputs(self, node: Node) -> tuple[int, int, int | None]:
        return node.op, node.src[1], node.src[2] if node.op == self._mul_mat_id else None

    def _sums_of(self, node: Node, weight: Node, name: str, columns: int) -> WeightSums:
        matrices = weight.ne[2] * weight.ne[3]
        return self.sums.weight(name, matrices, columns, matrices if node.op == self._mul_mat_id else 1)
