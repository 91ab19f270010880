from pathlib import Path

import pytest

from evaluators.errors import EngineCrash
from evaluators.evaluator import Evaluator
from evaluators.fake import FakeEvaluator
from evaluators.fake_damage import damage_of_names, damage_of_sizes, damage_of_tensors
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import Asked
from evaluators.repetition import Verdict
from evaluators.settings import RuntimeSettings


@pytest.fixture
def fake(tmp_path: Path) -> FakeEvaluator:
    (tmp_path / "text").write_text("x" * 40_000)
    return FakeEvaluator(
        RuntimeSettings(ctx_size=128),
        damage=damage_of_names({"a-Q2_K": 0.4, "a-Q8_0": 0.01, "b-Q2_K": 0.2}),
        failures={"bad.gguf": EngineCrash("it died")},
    )


def build(fake: Evaluator, tmp_path: Path) -> Path:
    fake.build_reference([tmp_path / "model"], tmp_path / "text", tmp_path / "ref", chunks=50, identity="m")
    return tmp_path / "ref"


def test_damage_adds_up_and_repeats(fake: FakeEvaluator, tmp_path: Path) -> None:
    reference = build(fake, tmp_path)
    paths = [Path("a-Q2_K.gguf"), Path("b-Q2_K.gguf")]
    score = fake.score(paths, reference, range(50))
    assert score.mean_kld == pytest.approx(0.6, rel=0.15)
    assert score == fake.score(paths, reference, range(50))
    assert score.chunks[7] == fake.score(paths, reference, [7]).chunks[0]
    assert fake.score([Path("a-Q8_0.gguf")], reference, range(50)).mean_kld == pytest.approx(0.01, rel=0.15)


def test_chunks_are_paired_across_candidates(fake: FakeEvaluator, tmp_path: Path) -> None:
    reference = build(fake, tmp_path)
    one = [chunk.mean_kld for chunk in fake.score([Path("a-Q2_K")], reference, range(50)).chunks]
    two = [chunk.mean_kld for chunk in fake.score([Path("b-Q2_K")], reference, range(50)).chunks]
    assert max(one) > 1.5 * min(one)
    ratios = [a / b for a, b in zip(one, two, strict=True)]
    assert max(ratios) / min(ratios) < 1.6
    assert min(ratios) > 1.0


def test_it_fails_where_it_is_told_to(fake: FakeEvaluator, tmp_path: Path) -> None:
    reference = build(fake, tmp_path)
    with pytest.raises(EngineCrash, match="it died"):
        fake.score([Path("a-Q2_K"), Path("bad.gguf")], reference, [0])
    assert fake.scored == []


def test_answers_depend_on_the_damage(fake: FakeEvaluator) -> None:
    questions = [Asked(f"q{number}", None, "?", "on", 40) for number in range(20)]
    seen: list[tuple[int, int]] = []
    sound = fake.generate(
        [Path("a-Q8_0")], questions, GenerationSettings(), progress=lambda done, total: seen.append((done, total))
    )
    worse = fake.generate([Path("a-Q2_K")], questions, GenerationSettings())
    assert seen[-1] == (20, 20)
    assert all(each.ending.verdict is Verdict.STOPPED and "wrong" not in each.text for each in sound.transcripts)
    assert 5 < sum("wrong" in each.text for each in worse.transcripts) < 20
    assert fake.generate([Path("a-Q2_K")], questions, GenerationSettings()) == worse
    endless = FakeEvaluator(answer=lambda question, damage: "again " * 200)
    (loop,) = endless.generate([], [Asked("q", None, "?", "on", 900)], GenerationSettings()).transcripts
    assert loop.ending.verdict is Verdict.LOOP


def test_damage_is_read_from_the_tensors_of_real_shards(tiny: Path, tiny_q4: Path) -> None:
    damage = damage_of_tensors()
    assert damage(tiny) == 0.0
    assert 0.0 < damage(tiny_q4) < 1.0
    named = damage_of_tensors({("blk.1.attn_v.weight", "Q6_K"): 5.0}, weights={"blk.1.ffn_up.weight": 1000.0})
    assert named(tiny_q4) > 5.0 + 1000.0 * 4.0**-4.5
    assert damage_of_sizes()(tiny_q4) > damage_of_sizes()(tiny)
