"""An evaluator that answers prompts as a test says, and a small suite for it."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gguf

from evaluators.evaluator import Progress
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Generation, Transcript
from evaluators.repetition import Ending, Repetition, Verdict
from evaluators.settings import RuntimeSettings
from tests.search.searches import DyingEvaluator

RIGHT, WRONG, LOOP = "Answer: 7", "Answer: 8", "again "
Behaviour = Callable[[Mapping[str, str], str], str]
"""Of (tensor name -> tensor type, question id): RIGHT, WRONG or LOOP."""


def always_right(types: Mapping[str, str], question_id: str) -> str:
    return RIGHT


def write_suite(path: Path, prompts: int = 8, category: str = "sums") -> Path:
    entries = [
        f'  - {{id: p{number}, category: {category}, raw: "3 + 4 = ?", max_tokens: 40, checks: [{{number: 7}}]}}'
        for number in range(prompts)
    ]
    path.write_text("\n".join(["name: sums", "prompts:", *entries, ""]))
    return path


class AnsweringEvaluator(DyingEvaluator):
    """`asked` lists each generation: the files' tensor types, the questions, and for how many there was a draft."""

    def __init__(
        self,
        settings: RuntimeSettings,
        dies_at: int | None = None,
        *,
        behaviour: Behaviour = always_right,
        stops_answering_at: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(settings, dies_at, **options)
        self._behaviour = behaviour
        self._stops_answering_at = stops_answering_at
        self.asked: list[tuple[Mapping[str, str], tuple[str, ...], int]] = []

    def generate(
        self,
        model_paths: Sequence[Path],
        questions: Sequence[AnyQuestion],
        settings: GenerationSettings,
        drafts: Mapping[str, Sequence[int]] | None = None,
        progress: Progress | None = None,
    ) -> Generation:
        if self._stops_answering_at is not None and len(self.asked) >= self._stops_answering_at:
            raise SystemExit("killed")
        types = tensor_types(tuple(model_paths))
        self.asked.append((types, tuple(each.id for each in questions), len(drafts or {})))
        made = tuple(transcript(each.id, self._behaviour(types, each.id)) for each in questions)
        return Generation(made, 1.0, 100.0, 0, "one by one")


def transcript(question_id: str, said: str) -> Transcript:
    endless = said == LOOP
    text = said * 20 if endless else said
    ending = Ending(Verdict.LOOP, Repetition(0, 1, 120)) if endless else Ending(Verdict.STOPPED)
    return Transcript(question_id, 5, tuple(map(ord, text)), text, ending, 0, 0.1)


@lru_cache(maxsize=512)
def tensor_types(paths: tuple[Path, ...]) -> Mapping[str, str]:
    return {tensor.name: tensor.tensor_type.name for path in paths for tensor in _tensors(path)}


@lru_cache(maxsize=4096)
def _tensors(path: Path) -> Any:
    return gguf.GGUFReader(path).tensors
