"""An evaluator without llama.cpp, for tests of whatever proposes candidates: damage is known, additive and repeatable.

A candidate's mean KLD is the sum of its shards' damage. Each chunk has its own difficulty, the same for all
candidates, and each pair of candidate and chunk a little noise of its own, so that paired tests have work to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from math import exp, sqrt
from pathlib import Path
from statistics import NormalDist

import gguf
import numpy as np

from evaluators.divergence import ChunkScore, Score
from evaluators.errors import TextError
from evaluators.evaluator import EngineInfo, Progress, TokenizedText
from evaluators.fake_damage import Damage, damage_of_tensors, uniform
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Asked, Generation, Transcript
from evaluators.imatrix import Collected, SumsIdentity
from evaluators.imatrix.sums import ActivationSums
from evaluators.imatrix.sums_file import write_sums
from evaluators.reference import Reference
from evaluators.repetition import judge_ending
from evaluators.settings import RuntimeSettings

# The text with which a model of that damage answers a question.
Answer = Callable[[Asked, float], str]


def plain_answer(question: Asked, damage: float) -> str:
    """An answer named after the question, with a flaw where the damage is more than the question's own threshold."""
    flawed = damage > 0.05 + 0.5 * uniform("question", question.id)
    return f"The {'wrong ' if flawed else ''}answer to {question.id}."


class FakeEvaluator:
    """Deterministic. `scored`, `generated` and `collected` list the calls.

    `failures` maps a shard's file name to an error to raise; `answer` gives the text that a model of this damage
    answers a question with.
    """

    def __init__(
        self,
        settings: RuntimeSettings | None = None,
        *,
        damage: Damage | None = None,
        noise: float = 0.05,
        text_tokens: int | None = None,
        n_vocab: int = 512,
        failures: Mapping[str, Exception] | None = None,
        answer: Answer | None = None,
    ) -> None:
        self._settings = settings or RuntimeSettings()
        self._damage = damage or damage_of_tensors()
        self._noise = noise
        self._text_tokens = text_tokens
        self._n_vocab = n_vocab
        self._failures = failures or {}
        self._answer = answer or plain_answer
        self.generated: list[tuple[tuple[Path, ...], tuple[str, ...]]] = []
        self.scored: list[tuple[tuple[Path, ...], tuple[int, ...]]] = []
        self.collected: list[tuple[tuple[Path, ...], Path]] = []

    @property
    def settings(self) -> RuntimeSettings:
        return self._settings

    def engine(self) -> EngineInfo:
        return EngineInfo("fake", "1", "none", ("CPU: fake",), hashlib.sha256(b"fake").hexdigest())

    def tokenize(self, model_paths: Sequence[Path], text: Path) -> TokenizedText:
        """One token for every two bytes of the text, or `text_tokens` in all."""
        content = text.read_bytes()
        count = self._text_tokens if self._text_tokens is not None else len(content) // 2
        tokens = np.arange(count, dtype=np.int32) % self._n_vocab
        return TokenizedText(tokens, hashlib.sha256(content).hexdigest(), self._n_vocab)

    def build_reference(
        self,
        model_paths: Sequence[Path],
        text: Path,
        folder: Path,
        *,
        chunks: int | None,
        identity: str,
        progress: Progress | None = None,
    ) -> Reference:
        tokenized = self.tokenize(model_paths, text)
        ctx_size = self._settings.ctx_size
        wanted = min(tokenized.n_chunks(ctx_size), chunks or 10**9)
        if wanted < 1:
            raise TextError(f"{text} has {len(tokenized)} tokens, a chunk takes {ctx_size}")
        reference = Reference.prepare(
            folder,
            identity=identity,
            text_sha256=tokenized.sha256,
            settings=self._settings,
            engine={"identity": self.engine().identity},
            n_vocab=self._n_vocab,
            tokens=tokenized.tokens[: wanted * ctx_size],
        )
        for done in range(1, wanted + 1):
            if progress is not None:
                progress(done, wanted)
        return reference

    def score(
        self,
        candidate_paths: Sequence[Path],
        reference: Path,
        chunks: Sequence[int],
        progress: Progress | None = None,
        *,
        settings: RuntimeSettings | None = None,
    ) -> Score:
        self._fail_where_asked(candidate_paths)
        kept = Reference.open(reference)
        if any(not 0 <= chunk < kept.n_chunks for chunk in chunks):
            raise TextError(f"the reference has {kept.n_chunks} chunks; {list(chunks)} were asked for")
        self.scored.append((tuple(candidate_paths), tuple(chunks)))
        total = sum(self._damage(path) for path in candidate_paths)
        key = f"{total!r}"
        rows: list[ChunkScore] = []
        values: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
        for done, chunk in enumerate(sorted(chunks), start=1):
            spread = 1.0 + self._noise * _normal("noise", kept.text_sha256, key, str(chunk))
            difficulty = exp(0.3 * _normal("chunk", kept.text_sha256, str(chunk)) - 0.045)
            row, tokens = _chunk_score(chunk, kept.scored_per_chunk, total * difficulty * max(spread, 0.1))
            rows.append(row)
            values.append(tokens)
            if progress is not None:
                progress(done, len(chunks))
        return Score(tuple(rows), np.concatenate(values), None)

    def generate(
        self,
        model_paths: Sequence[Path],
        questions: Sequence[AnyQuestion],
        settings: GenerationSettings,
        drafts: Mapping[str, Sequence[int]] | None = None,
        progress: Progress | None = None,
    ) -> Generation:
        """What `answer` says, one token a character; stopped where that is shorter than the question allows."""
        self._fail_where_asked(model_paths)
        self.generated.append((tuple(model_paths), tuple(question.id for question in questions)))
        damage = sum(self._damage(path) for path in model_paths)
        transcripts = []
        for done, question in enumerate(map(Asked.of, questions), start=1):
            whole = self._answer(question, damage)
            text = whole[: question.max_tokens]
            tokens = tuple(map(ord, text))
            ending = judge_ending(tokens, text, stopped=len(whole) < question.max_tokens)
            transcripts.append(Transcript(question.id, 1, tokens, text, ending, 0, 0.0, (1,) * len(text)))
            if progress is not None:
                progress(done, len(questions))
        return Generation(tuple(transcripts), 0.0, 0.0, 0, "fake")

    def collect_activations(
        self,
        model_paths: Sequence[Path],
        text: Path,
        path: Path,
        *,
        identity: str,
        chunks: int | None = None,
        process_output: bool = False,
        save_every: int = 10,
        progress: Progress | None = None,
    ) -> Collected:
        """Sums drawn from names and text, for every weight of a block that has two dimensions or more."""
        tokenized = self.tokenize(model_paths, text)
        wanted = chunks or tokenized.n_chunks(self._settings.ctx_size)
        tokens = wanted * self._settings.ctx_size
        sums = ActivationSums()
        for tensor in (each for model in model_paths for each in gguf.GGUFReader(model).tensors):
            if len(tensor.shape) > 1 and (tensor.name.startswith("blk.") or process_output):
                columns, matrices = int(tensor.shape[0]), int(np.prod(tensor.shape[2:]))
                weight = sums.weight(tensor.name, matrices, columns, matrices)
                weight.sums[:] = tokens * (0.1 + uniform("activations", tensor.name, tokenized.sha256))
                weight.counts[:] = tokens
        run = SumsIdentity(identity, tokenized.sha256, "fake", self._settings.as_dict())
        write_sums(path, sums, run, self._settings.ctx_size, wanted)
        self.collected.append((tuple(model_paths), text))
        if progress is not None:
            progress(wanted, wanted)
        return Collected(path, wanted, 0)

    def block_influence(
        self, model_paths: Sequence[Path], text: Path, *, chunks: int, progress: Progress | None = None
    ) -> tuple[float, ...]:
        """Between 0 and 1, drawn from the layer's number; the first and the last are the largest, as in real models."""
        blocks = {
            int(t.name.split(".")[1]) for m in model_paths for t in gguf.GGUFReader(m).tensors if "blk." in t.name
        }
        inner = [0.1 + 0.5 * uniform("influence", str(layer)) for layer in range(len(blocks))]
        if progress is not None:
            progress(chunks, chunks)
        return (0.9, *inner[1:-1], 0.8)

    def _fail_where_asked(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if path.name in self._failures:
                raise self._failures[path.name]

    def release(self) -> None:
        pass

    def close(self) -> None:
        pass


def _chunk_score(
    chunk: int, tokens: int, mean_kld: float
) -> tuple[ChunkScore, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """Token values with an exponential spread around the chunk's mean, and the sums that follow from them."""
    quantiles = (np.arange(tokens) + 0.5) / tokens
    shape = -np.log1p(-quantiles)
    klds = mean_kld * shape / shape.mean()
    reference_nll = 1.5 + 0.5 * _normal("nll", str(chunk)) * 0.2
    nll = reference_nll + 0.5 * mean_kld
    delta_p = -0.2 * sqrt(mean_kld)
    score = ChunkScore(
        chunk=chunk,
        tokens=tokens,
        kld_sum=float(klds.sum()),
        kld_sum_squares=float((klds**2).sum()),
        nll_sum=nll * tokens,
        nll_sum_squares=2.0 * nll**2 * tokens,
        reference_nll_sum=reference_nll * tokens,
        reference_nll_sum_squares=2.0 * reference_nll**2 * tokens,
        nll_cross_sum=(1.0 + 0.9) * nll * reference_nll * tokens,
        delta_p_sum=delta_p * tokens,
        delta_p_sum_squares=2.0 * delta_p**2 * tokens,
        delta_p_sum_fourths=8.0 * delta_p**4 * tokens,
        same_top=round(tokens * exp(-sqrt(mean_kld) / 2)),
    )
    return score, klds.astype(np.float32)


def _normal(*words: str) -> float:
    return NormalDist().inv_cdf(uniform(*words))
