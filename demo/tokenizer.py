"""The demo model's vocabulary: a byte-level BPE in which 0-99 are one token each, with and without a space before."""

from __future__ import annotations

from itertools import islice

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from demo.corpus import END_OF_TEXT, documents

VOCABULARY = 1024
DOCUMENTS = 20_000


def train_tokenizer(seed: int) -> Tokenizer:
    """Train on the training split; numbers are shown often enough that their merges come first.

    The pre-tokenizer is GPT-2's, which llama.cpp knows as ``gpt-2``.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    numbers = [f"{number} {number}\n{number}" for number in range(100)] * 100
    tokenizer.train_from_iterator(numbers + list(islice(documents("training", seed), DOCUMENTS)), trainer)
    for number in range(100):
        for text in (f"{number}", f" {number}"):
            if len(tokenizer.encode(text).ids) != 1:
                raise ValueError(f"the number {text!r} is not one token: show the numbers more often")
    return tokenizer
