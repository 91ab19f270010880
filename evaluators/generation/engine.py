"""Greedy answers to many questions at once: continuous batching in one llama.cpp context with a unified KV cache.

Each step decodes the next token of every answer, with what its draft foretells, and as much of new prompts as the batch
holds. A question enters as soon as a sequence and the cells it may need are free, in the order given, so no step can
run out of cells. Nothing depends on time: the same model, questions and settings give the same steps and transcripts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import llama_cpp.llama_cpp as low
import numpy as np

from evaluators.errors import DecodeError, EvaluationInputError, ModelLoadError, ReferenceMismatch
from evaluators.evaluator import Progress
from evaluators.generation.batches import Part, plan_batch, to_arrays
from evaluators.generation.draft import Draft
from evaluators.generation.sequence import AnswerSequence
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.shape import BatchShape, Request, fit_request, fit_shape, longest_sequence
from evaluators.generation.thinking import count_thinking_tokens
from evaluators.generation.transcript import AnyQuestion, Asked, Generation, Transcript
from evaluators.generation.vocabulary import Vocabulary
from evaluators.llama import context_params, decode, load_model, log, logits, named, start_backend
from evaluators.repetition import judge_ending
from evaluators.settings import RuntimeSettings

_PROGRESS_STEPS = 16  # steps between two reports: a sign of life where answers are long


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
        speculative = self._generation.speculative and bool(drafts) and self.can_take_back
        shape = fit_shape(requests, self._generation, self._runtime, speculative=speculative)
        context = self._context(shape)
        try:
            run = _Run(context, self._vocabulary, requests, shape, self._generation, drafts or {})
            return run.finish(progress, shape.identity(self._runtime))
        finally:
            low.llama_free(context)

    def _context(self, shape: BatchShape) -> Any:
        params = context_params(self._runtime)
        params.n_ctx, params.n_seq_max, params.kv_unified = shape.ctx_size, shape.n_sequences, True
        params.n_batch, params.n_ubatch = shape.n_batch, shape.n_ubatch
        # Else memory is reserved for the logits of a whole batch.
        params.n_outputs_max = shape.n_sequences * (1 + shape.draft_tokens)
        context = low.llama_init_from_model(self._model, params)
        if not context:
            raise ModelLoadError(
                f"llama.cpp cannot make a context of {shape.ctx_size} tokens for {shape.n_sequences} answers at once "
                f"of {named(self._paths)}; decode fewer in parallel, or use a smaller -c. Its log ends:\n{log.tail()}"
            )
        return context


class _Run:
    def __init__(
        self,
        context: Any,
        vocabulary: Vocabulary,
        requests: Sequence[Request],
        shape: BatchShape,
        settings: GenerationSettings,
        drafts: Mapping[str, Sequence[int]],
    ) -> None:
        self._context, self._memory = context, low.llama_get_memory(context)
        self._vocabulary, self._requests, self._shape = vocabulary, requests, shape
        self._settings, self._drafts = settings, drafts
        self._waiting = list(range(len(requests)))[::-1]
        self._slots = list(range(shape.n_sequences))[::-1]
        self._cells = shape.ctx_size
        self._active: list[AnswerSequence] = []
        self._begun: dict[int, float] = {}
        self._found: dict[int, Transcript] = {}
        self._accepted = 0

    def finish(self, progress: Progress | None, identity: str) -> Generation:
        started = time.perf_counter()
        total, steps = len(self._requests), 0
        while self._waiting or self._active:
            self._admit()
            before = len(self._found)
            self._step(plan_batch(self._active, self._shape))
            steps += 1
            if progress is not None and (len(self._found) > before or steps % _PROGRESS_STEPS == 0):
                progress(len(self._found), total)
        seconds = time.perf_counter() - started
        transcripts = tuple(self._found[number] for number in range(total))
        generated = sum(len(transcript.tokens) for transcript in transcripts)
        return Generation(transcripts, seconds, generated / seconds, self._accepted, identity)

    def _admit(self) -> None:
        while self._waiting and self._slots and self._requests[self._waiting[-1]].cells <= self._cells:
            number = self._waiting.pop()
            request = self._requests[number]
            foretold = self._drafts.get(request.question_id) if self._shape.draft_tokens else None
            draft = Draft(foretold) if foretold else None
            stop_loops = self._settings.stop_loops
            slot = self._slots.pop()
            self._active.append(
                AnswerSequence(number, slot, request.tokens, request.allowed, draft, stop_loops=stop_loops)
            )
            self._cells -= request.cells
            self._begun[number] = time.perf_counter()

    def _step(self, parts: Sequence[Part]) -> None:
        decode(self._context, *to_arrays(parts))
        outputs = sum(part.outputs for part in parts)
        choices: list[int] = []
        if outputs:
            rows = logits(self._context, outputs, self._vocabulary.size)
            best = rows.argmax(axis=1)  # the lowest id of equals
            if not np.isfinite(rows[np.arange(outputs), best]).all():
                raise DecodeError("the model's logits are not numbers; its file is damaged or its quantization failed")
            choices = best.tolist()
        row = 0
        for part in parts:
            if part.outputs:
                part.sequence.accept(part.proposed, choices[row : row + part.outputs], self._vocabulary.ends)
            else:
                part.sequence.decoded += part.taken
            row += part.outputs
        for part in parts:
            self._clean(part)

    def _clean(self, part: Part) -> None:
        sequence = part.sequence
        if sequence.finished:
            low.llama_memory_seq_rm(self._memory, sequence.slot, -1, -1)
            self._keep(sequence)
        elif part.proposed and not low.llama_memory_seq_rm(self._memory, sequence.slot, sequence.decoded, -1):
            raise DecodeError("this model's memory cannot take tokens back; switch speculation off")

    def _keep(self, sequence: AnswerSequence) -> None:
        request = self._requests[sequence.number]
        tokens = sequence.answer.tolist()
        pieces = [self._vocabulary.piece(token) for token in tokens]
        text = b"".join(pieces).decode("utf-8", "replace")
        self._found[sequence.number] = Transcript(
            question_id=request.question_id,
            prompt_tokens=len(request.tokens),
            tokens=tuple(tokens),
            text=text,
            ending=judge_ending(tokens, text, stopped=sequence.stopped),
            thinking_tokens=count_thinking_tokens(pieces, request.prompt),
            seconds=time.perf_counter() - self._begun[sequence.number],
        )
        self._accepted += sequence.accepted
        self._active.remove(sequence)
        self._slots.append(sequence.slot)
        self._cells += request.cells
