"""Greedy answers one after the other, without the greedy engine: what benchmarks.generation compares with."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as low
import numpy as np

from evaluators.generation.transcript import Asked
from evaluators.generation.vocabulary import Vocabulary
from evaluators.llama import context_params, load_model, start_backend
from evaluators.prompts.suite import Question
from evaluators.settings import RuntimeSettings


def answer_by_library(path: Path, questions: Sequence[Question], threads: int) -> tuple[float, list[str]]:
    """Tokens a second and texts."""
    model = llama_cpp.Llama(str(path), n_ctx=0, n_threads=threads, n_threads_batch=threads, verbose=False)
    started, tokens, texts = time.perf_counter(), 0, []
    for question in questions:
        assert question.text is not None
        made: Any = model.create_completion(question.text, max_tokens=question.max_tokens, temperature=0.0)
        tokens += made["usage"]["completion_tokens"]
        texts.append(made["choices"][0]["text"])
    seconds = time.perf_counter() - started
    model.close()
    return tokens / seconds, texts


def answer_by_loop(path: Path, questions: Sequence[Question], threads: int) -> tuple[float, list[str]]:
    """Tokens a second and texts."""
    start_backend()
    paths, runtime = [path], RuntimeSettings(threads=threads)
    model = load_model(paths, runtime, vocab_only=False)
    vocabulary, size = Vocabulary(model, paths, None), low.llama_vocab_n_tokens(low.llama_model_get_vocab(model))
    params = context_params(runtime)
    params.n_ctx = low.llama_model_n_ctx_train(model)
    context = low.llama_init_from_model(model, params)
    memory, next_token = low.llama_get_memory(context), (ctypes.c_int32 * 1)()
    answers = []
    started = time.perf_counter()
    for question in questions:
        low.llama_memory_clear(memory, False)
        ids = vocabulary.prompt(Asked.of(question))[1]
        prompt = (ctypes.c_int32 * len(ids))(*ids)
        batch = low.llama_batch_get_one(prompt, len(ids))
        one = low.llama_batch_get_one(next_token, 1)
        answer: list[int] = []
        while len(answer) < question.max_tokens:
            assert low.llama_decode(context, batch) == 0
            token = int(np.ctypeslib.as_array(low.llama_get_logits_ith(context, -1), shape=(size,)).argmax())
            if low.llama_vocab_is_eog(low.llama_model_get_vocab(model), token):
                break
            answer.append(token)
            next_token[0], batch = token, one
        answers.append(answer)
    speed = sum(map(len, answers)) / (time.perf_counter() - started)
    texts = [b"".join(map(vocabulary.piece, answer)).decode("utf-8", "replace") for answer in answers]
    low.llama_free(context)
    low.llama_model_free(model)
    return speed, texts
