"""A model that answers many questions at once: in one llama.cpp context with a unified KV cache, or in one a thread."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import llama_cpp.llama_cpp as low

from evaluators.errors import EvaluationInputError, ModelLoadError, ReferenceMismatch
from evaluators.evaluator import Progress
from evaluators.generation.board import Board
from evaluators.generation.run import GreedyRun, finish_all
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.shape import BatchShape, fit_request, fit_shape, longest_sequence
from evaluators.generation.transcript import AnyQuestion, Asked, Generation
from evaluators.generation.vocabulary import Vocabulary
from evaluators.llama import context_params, load_model, log, named, start_backend
from evaluators.settings import RuntimeSettings


class GreedyEngine:
    """A loaded model that answers. Raises ModelLoadError, TokenizerError, EvaluationInputError."""

    def __init__(self, paths: Sequence[Path], runtime: RuntimeSettings, generation: GenerationSettings) -> None:
        start_backend()
        self._paths, self._runtime, self._generation = paths, runtime, generation
        self._model: Any = load_model(paths, runtime, vocab_only=False)
        try:
            if low.llama_model_has_encoder(self._model) or low.llama_model_is_diffusion(self._model):
                raise EvaluationInputError(f"{named(paths)} does not write token by token, so it answers no prompts")
            self._vocabulary = Vocabulary(self._model, paths, generation.chat_template)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> GreedyEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._model:
            low.llama_model_free(self._model)
            self._model = None

    @property
    def can_take_back(self) -> bool:
        """Whether tokens at the end of a sequence can be removed: recurrent states and sliding windows cannot."""
        return not (
            low.llama_model_is_recurrent(self._model)
            or low.llama_model_is_hybrid(self._model)
            or low.llama_model_n_swa(self._model)
        )

    def generate(
        self,
        questions: Sequence[AnyQuestion],
        drafts: Mapping[str, Sequence[int]] | None = None,
        progress: Progress | None = None,
    ) -> Generation:
        """Raises EvaluationInputError and its kinds, DecodeError. progress may be told the same figures repeatedly."""
        if not questions:
            return Generation((), 0.0, 0.0, 0, "nothing was asked")
        trained = int(low.llama_model_n_ctx_train(self._model))
        longest = longest_sequence(self._generation, self._runtime, trained)
        requests = [
            fit_request(asked.id, *self._vocabulary.prompt(asked), asked.max_tokens, longest)
            for asked in map(Asked.of, questions)
        ]
        if len({request.question_id for request in requests}) < len(requests):
            raise EvaluationInputError("two prompts have the same id; give each its own")
        if any(not 0 <= token < self._vocabulary.size for draft in (drafts or {}).values() for token in draft):
            raise ReferenceMismatch(
                f"the drafts hold tokens that {named(self._paths)} does not have; they come from a model of another "
                "vocabulary"
            )
        shape = fit_shape(
            requests,
            self._generation,
            self._runtime,
            can_take_back=self.can_take_back,
            speculative=self._generation.speculative and bool(drafts) and self.can_take_back,
            weights=int(low.llama_model_size(self._model)),
        )
        board = Board(requests, drafts or {}, progress)
        contexts: list[Any] = []
        try:
            for _ in range(shape.lanes):
                contexts.append(self._context(shape))
            started = time.perf_counter()
            finish_all([GreedyRun(each, self._vocabulary, board, shape, self._generation) for each in contexts], board)
            return board.generation(time.perf_counter() - started, shape.identity(self._runtime))
        finally:
            for context in contexts:
                low.llama_free(context)

    def _context(self, shape: BatchShape) -> Any:
        params = context_params(self._runtime)
        params.n_ctx, params.n_seq_max, params.kv_unified = shape.ctx_size, shape.n_sequences, True
        params.n_batch, params.n_ubatch = shape.n_batch, shape.n_ubatch
        params.n_threads = params.n_threads_batch = shape.threads(self._runtime)
        # Else memory is reserved for the logits of a whole batch.
        params.n_outputs_max = shape.n_outputs
        context = low.llama_init_from_model(self._model, params)
        if not context:
            raise ModelLoadError(
                f"llama.cpp cannot make a context of {shape.ctx_size} tokens for {shape.n_sequences} answers at once "
                f"of {named(self._paths)}; decode fewer in parallel, or use a smaller -c. Its log ends:\n{log.tail()}"
            )
        return context
