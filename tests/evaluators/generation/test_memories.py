"""Windows, recurrent states and both beside attention: memories that take nothing back answer as one at a time."""

from pathlib import Path

import pytest

from evaluators.generation.engine import GreedyEngine
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import Asked, Generation
from evaluators.settings import RuntimeSettings
from tests.architectures import kinds

NAMES = ("gemma3", "gpt-oss", "qwen3next", "falcon-h1", "lfm2")
QUESTIONS = [
    Asked(f"q{number}", None, "the red and the other thing " * (number + 1), "on", 24 + number) for number in range(5)
]


def made(model: Path, generation: GenerationSettings, threads: int, drafts: dict[str, tuple[int, ...]]) -> Generation:
    runtime = RuntimeSettings(threads=threads, batch_size=64, ubatch_size=32)
    with GreedyEngine([model], runtime, generation) as engine:
        assert not engine.can_take_back
        return engine.generate(QUESTIONS, drafts)


@pytest.mark.parametrize(
    ("name", "lanes"),
    # In one context gpt-oss' experts of random weights are nearly tied.
    [*((name, False) for name in NAMES if name != "gpt-oss"), *((name, True) for name in NAMES)],
)
def test_together_as_one_by_one(name: str, lanes: bool, tmp_path: Path) -> None:
    """Prompts longer than a window and a batch; the drafts given are left aside."""
    model = kinds.KINDS[name].write(tmp_path)
    alone = made(model, GenerationSettings(max_parallel=1, speculative=False), 1, {})
    own = {each.question_id: each.tokens for each in alone.transcripts}
    together = made(model, GenerationSettings(max_parallel=3, lanes=lanes), 2 if lanes else 1, own)
    assert together.transcripts == alone.transcripts
    assert f"n_seq_max={1 if lanes else 3} " in together.batch_shape
    assert "speculative=no" in together.batch_shape
    assert together.accepted_draft_tokens == 0
