"""Continuous batching: from the first prompt token to the last answer.

Each step decodes the next token of every answer, with what its draft foretells, and as much of new prompts as the batch
holds. A question enters as soon as a sequence and the cells it may need are free, in the order given, so no step can
run out of cells. Where several contexts answer at once, each has one sequence, so that no answer depends on which of
them was free for it. Nothing else depends on time: the same model, questions and settings give the same transcripts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import llama_cpp.llama_cpp as low
import numpy as np

from evaluators.errors import DecodeError
from evaluators.generation.batches import Part, plan_batch, to_arrays
from evaluators.generation.board import Board
from evaluators.generation.prefix import find_beginning
from evaluators.generation.sequence import AnswerSequence
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.shape import BatchShape, Request
from evaluators.generation.thinking import count_thinking_tokens
from evaluators.generation.transcript import Transcript, token_lengths
from evaluators.generation.vocabulary import Vocabulary
from evaluators.llama import decode, logits
from evaluators.repetition import judge_ending

_PROGRESS_STEPS = 16  # steps between two reports: a sign of life where answers are long


class GreedyRun:
    """One use of a fresh context of this shape. `finish` raises DecodeError."""

    def __init__(
        self, context: Any, vocabulary: Vocabulary, board: Board, shape: BatchShape, settings: GenerationSettings
    ) -> None:
        self._context, self._memory = context, low.llama_get_memory(context)
        self._vocabulary, self._board, self._shape, self._settings = vocabulary, board, shape, settings
        self._slots = list(range(shape.n_sequences))[::-1]
        self._cells = shape.ctx_size
        self._active: list[AnswerSequence] = []
        self._begun: dict[int, float] = {}
        self._requests: dict[int, Request] = {}

    def finish(self) -> None:
        """Answers what the board has until it has nothing more."""
        steps = 0
        self._admit()
        while self._active and not self._board.closed:
            self._step(plan_batch(self._active, self._shape))
            steps += 1
            if steps % _PROGRESS_STEPS == 0:
                self._board.tell()
            self._admit()

    def _admit(self) -> None:
        while self._slots:
            beginning = find_beginning(self._board.next_prompt(), self._active) if self._shape.shares_prefixes else None
            if beginning is not None and beginning[0].decoded < beginning[1]:
                return  # until it is decoded
            taken = self._board.take(self._cells)
            if taken is None:
                return
            number, request = taken
            draft = self._board.draft(request) if self._shape.draft_tokens else None
            stop_loops = self._settings.stop_loops
            slot = self._slots.pop()
            sequence = AnswerSequence(number, slot, request.tokens, request.allowed, draft, stop_loops=stop_loops)
            if beginning is not None:
                source, sequence.decoded = beginning
                low.llama_memory_seq_cp(self._memory, source.slot, slot, 0, sequence.decoded)
            self._active.append(sequence)
            self._cells -= request.cells
            self._requests[number] = request
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
        number = sequence.number
        request = self._requests.pop(number)
        tokens = sequence.answer.tolist()
        pieces = [self._vocabulary.piece(token) for token in tokens]
        text = b"".join(pieces).decode("utf-8", "replace")
        transcript = Transcript(
            question_id=request.question_id,
            prompt_tokens=len(request.tokens),
            tokens=tuple(tokens),
            text=text,
            ending=judge_ending(tokens, text, stopped=sequence.stopped),
            thinking_tokens=count_thinking_tokens(pieces, request.prompt),
            seconds=time.perf_counter() - self._begun.pop(number),
            token_lengths=token_lengths(pieces),
        )
        self._active.remove(sequence)
        self._slots.append(sequence.slot)
        self._cells += request.cells
        self._board.keep(number, transcript, sequence.accepted)


def finish_all(runs: Sequence[GreedyRun], board: Board) -> None:
    """All of them side by side; llama.cpp computes without Python's lock. The first error ends them and is raised."""
    if len(runs) == 1:
        return runs[0].finish()
    with ThreadPoolExecutor(len(runs)) as lanes:
        try:
            for done in as_completed([lanes.submit(run.finish) for run in runs]):
                done.result()
        except BaseException:
            board.close()
            raise
