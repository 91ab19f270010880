"""A model's vocabulary: prompts as tokens, tokens as text."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as low
import numpy as np

from evaluators.errors import EvaluationInputError
from evaluators.generation.templates import ChatTemplate, TemplateError, inject_empty_thinking
from evaluators.generation.transcript import Asked
from evaluators.llama import named, pointer, vocabulary


class Vocabulary:
    """Of a loaded model, which must outlive it. Raises TokenizerError. chat_template: instead of the model's own."""

    def __init__(self, model: Any, paths: Sequence[Path], chat_template: str | None) -> None:
        self._model, self._paths, self._given_template = model, paths, chat_template
        self._vocab = vocabulary(model, paths)
        self._pieces: dict[int, bytes] = {}
        self.size = int(low.llama_vocab_n_tokens(self._vocab))

    def prompt(self, question: Asked) -> tuple[str, list[int]]:
        """Prompt text and tokens. Special tokens in it are special; BOS comes once, as the vocabulary's rule is.

        Raises TemplateError, EvaluationInputError.
        """
        if question.messages is not None:
            text = self._template.render(question.messages, thinking=question.thinking)
        else:
            assert question.text is not None
            text = inject_empty_thinking(question.text) if question.thinking == "inject" else question.text
        # A template that writes BOS itself, in a vocabulary that adds it too, must not give two (as llama.cpp's tools).
        bare = text
        if low.llama_vocab_get_add_bos(self._vocab) and (bos := self._special(low.llama_vocab_bos(self._vocab))):
            bare = text.removeprefix(bos)
        encoded = bare.encode()
        tokens = np.empty(len(encoded) + 8, dtype=np.int32)
        count = low.llama_tokenize(
            self._vocab, encoded, len(encoded), pointer(tokens, ctypes.c_int32), tokens.size, True, True
        )
        if count < 1:
            raise EvaluationInputError(f"prompt {question.id} has no tokens; give it a text")
        return text, tokens[:count].tolist()

    def piece(self, token: int) -> bytes:
        """A token's bytes; special tokens as their text."""
        if token not in self._pieces:
            buffer = ctypes.create_string_buffer(256)
            length = low.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
            if length < 0:
                buffer = ctypes.create_string_buffer(-length)
                length = low.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
            self._pieces[token] = buffer.raw[: max(0, length)]
        return self._pieces[token]

    def ends(self, token: int) -> bool:
        """Whether generation ends with this token."""
        return bool(low.llama_vocab_is_eog(self._vocab, token))

    @cached_property
    def _template(self) -> ChatTemplate:
        source = self._given_template
        if source is None:
            found = low.llama_model_chat_template(self._model, None)
            if not found:
                raise TemplateError(
                    f"{named(self._paths)} carries no chat template, which prompts of messages need; give one with "
                    "--chat-template, or use prompts of raw text"
                )
            source = found.decode("utf-8", "replace")
        return ChatTemplate(
            source,
            bos_token=self._special(low.llama_vocab_bos(self._vocab)),
            eos_token=self._special(low.llama_vocab_eos(self._vocab)),
        )

    def _special(self, token: int) -> str:
        return self.piece(token).decode("utf-8", "replace") if token >= 0 else ""
