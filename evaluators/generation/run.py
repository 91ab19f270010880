"""Continuous batching: from the first prompt token to the last answer.

Each step decodes the next token of every answer, with what its draft foretells, and as much of new prompts as the batch
holds. A question enters as soon as a sequence and the cells it may need are free, in the order given, so no step can
run out of cells. Nothing depends on time: the same model, questions and settings give the same steps and transcripts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import llama_cpp.llama_cpp as low
import numpy as np

from evaluators.errors import DecodeError
from evaluators.evaluator import Progress
from evaluators.generation.batches import Part, plan_batch, to_arrays
from evaluators.generation.draft import Draft
from evaluators.generation.sequence import AnswerSequence
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.shape import BatchShape, Request
from evaluators.generation.thinking import count_thinking_tokens
from evaluators.generation.transcript import Generation, Transcript, token_lengths
from evaluators.generation.vocabulary import Vocabulary
from evaluators.llama import decode, logits
from evaluators.repetition import judge_ending

_PROGRESS_STEPS = 16  # steps between two reports: a sign of life where answers are long


class GreedyRun:
    """One use of a fresh context of this shape. `finish` raises DecodeError."""

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
            token_lengths=token_lengths(pieces),
        )
        self._accepted += sequence.accepted
        self._active.remove(sequence)
        self._slots.append(sequence.slot)
        self._cells += request.cells
