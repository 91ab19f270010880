"""How much each block of a model changes the hidden state: what says which layers could be missed.

    influence(l) = 1 - mean over tokens of cos(x_l, x_{l+1}),   x_l the hidden state into block l, x_{l+1} out of it

(block influence of ShortGPT, arXiv 2403.03853.) The states are the nodes that llama.cpp names `l_out-l` while it
computes, and the embeddings (`embd` in most architectures) for block 0; a scale that some of them give the embeddings
changes no cosine. Outputs are asked for at every position, for llama.cpp leaves rows without one out of its last block.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluators.errors import DecodeError, EvaluationError
from evaluators.evaluator import Progress
from evaluators.imatrix.graph_node import F32, Callback, Node, NodeReader, require_known_layout, weight_name
from evaluators.runtime import Runtime, tokenize
from evaluators.settings import RuntimeSettings
from evaluators.targets import count_chunks

Floats = NDArray[np.float32]
_STATE = re.compile(r"l_out-(\d+)")
_EMBEDDINGS = re.compile(r"embd|inp_embd|inp_scaled|inp_embd_scaled|model\.(input_embed|embed_tokens)|embd_norm")


def block_influence(
    model_paths: Sequence[Path],
    text: Path,
    settings: RuntimeSettings,
    *,
    chunks: int,
    progress: Progress | None = None,
) -> tuple[float, ...]:
    """The influence of every block over the first `chunks` chunks of a text, 0 (changes nothing) to 2.

    Raises EvaluationError where llama.cpp does not name the hidden states of this architecture, TextError where the
    text is too short, DecodeError for states that are not finite.
    """
    require_known_layout()
    tokenized = tokenize(model_paths, text)
    wanted = count_chunks(tokenized, text, settings, chunks)
    observer = _Observer()
    with Runtime(model_paths, settings, on_node=observer.callback) as runtime:
        for first in range(0, wanted, settings.n_sequences):
            group = range(first, min(first + settings.n_sequences, wanted))
            for _ in runtime.pass_over(tokenized.tokens, group):
                observer.check()
            observer.check()
            if progress is not None:
                progress(group.stop, wanted)
    return observer.influences()


class _Observer:
    """`callback` goes into llama_context_params.cb_eval. An error in it ends the graph; `check` raises it later."""

    def __init__(self) -> None:
        self.callback: Any = Callback(self._called)
        self._reader = NodeReader()
        self._into: Floats | None = None
        self._expected = 0
        self._cosines: dict[int, float] = {}
        self._tokens: dict[int, int] = {}
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raise what went wrong inside the callback, if anything did."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def influences(self) -> tuple[float, ...]:
        """By block; EvaluationError where one was never seen."""
        n_layer = max(self._cosines, default=-1) + 1
        if n_layer == 0 or len(self._cosines) < n_layer:
            raise EvaluationError(
                "llama.cpp does not name the hidden states between the blocks of this architecture, so their influence "
                "cannot be measured; name the layers to try: --set prune_candidates='[LAYER, LAYER]'"
            )
        return tuple(1.0 - self._cosines[layer] / self._tokens[layer] for layer in range(n_layer))

    def _called(self, address: int, asking: bool, _user_data: Any) -> bool:
        node = Node.from_address(address)
        name = weight_name(node)
        found = _STATE.fullmatch(name)
        if found is None and not _EMBEDDINGS.fullmatch(name):
            return not asking
        try:
            if self._error is not None:
                return asking  # as soon as a node is wanted, the graph ends
            if not asking:
                self._take(None if found is None else int(found[1]), self._state(address, node, name))
        except BaseException as error:  # ctypes would print it and go on
            self._error = error
            return asking
        return True

    def _state(self, address: int, node: Node, name: str) -> Floats:
        """[tokens, width], of its own memory."""
        width, rows = int(node.ne[0]), int(node.ne[1] * node.ne[2] * node.ne[3])
        flat = self._reader.floats(address, node)
        if node.type != F32 or flat.size != rows * width:
            raise EvaluationError(f"the hidden state {name} is no array of float32 in one piece; it cannot be compared")
        return flat.reshape(rows, width).copy()

    def _take(self, layer: int | None, state: Floats) -> None:
        before, self._into = self._into, state
        if layer is None:
            self._expected = 0
            return
        if layer != self._expected or before is None or before.shape != state.shape:
            raise EvaluationError(
                f"llama.cpp computed the hidden state behind layer {layer} where that behind layer {self._expected} "
                "was expected; name the layers to try: --set prune_candidates='[LAYER, LAYER]'"
            )
        self._expected = layer + 1
        products = np.einsum("ij,ij->i", before, state, dtype=np.float64)
        lengths = np.sqrt(
            np.einsum("ij,ij->i", before, before, dtype=np.float64)
            * np.einsum("ij,ij->i", state, state, dtype=np.float64)
        )
        with np.errstate(invalid="ignore"):
            cosines = products / np.maximum(lengths, np.finfo(np.float64).tiny)
        if not np.isfinite(cosines).all():
            raise DecodeError(
                f"the hidden state behind layer {layer} is not finite, so nothing can be said of the layer; the model "
                "may be damaged, or too large for its F16 range (try -fa off, or a BF16 source)"
            )
        self._cosines[layer] = self._cosines.get(layer, 0.0) + float(cosines.sum())
        self._tokens[layer] = self._tokens.get(layer, 0) + len(cosines)
