"""Our figures against what llama-quantize and llama-perplexity of the pinned version print for the bundled model.

`make_fixtures.sh` made the fixtures. On a machine and build that give the reference model the very logits of theirs
(then our base file is theirs, byte for byte) every figure must agree to the printed digits. Elsewhere float sums are
taken in another order, activations round to other codes here and there, and figures agree to a few per cent.
"""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from evaluators.base_file import BaseFile
from evaluators.divergence import Estimate, Score
from evaluators.evaluate import evaluate_file
from evaluators.in_process import InProcessEvaluator
from evaluators.perplexity import measure_perplexity
from evaluators.runtime import Runtime, tokenize
from evaluators.settings import RuntimeSettings
from tests.evaluators.conftest import quantize

FIXTURES = Path(__file__).parent / "fixtures"
MODEL = Path(__file__).parents[2] / "demo" / "model" / "demo-F16.gguf"
SETTINGS = RuntimeSettings(ctx_size=256, batch_size=512, threads=1)
PRESETS = ("Q2_K", "Q4_K_M", "IQ4_XS")


def test_the_fixtures_are_those_of_the_bundled_model() -> None:
    recorded = (FIXTURES / "model.sha256").read_text().strip()
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() == recorded, "run tests/evaluators/make_fixtures.sh again"


@pytest.fixture(scope="module")
def our_base_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.kld"
    evaluator = InProcessEvaluator(SETTINGS)
    evaluator.write_base_file([MODEL], FIXTURES / "text.txt", path, chunks=3)
    evaluator.close()
    return path


@pytest.fixture(scope="module")
def same_logits(our_base_file: Path) -> bool:
    return our_base_file.read_bytes() == (FIXTURES / "base.kld").read_bytes()


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("candidates")
    return {preset: quantize(MODEL, folder / f"{preset}.gguf", preset) for preset in PRESETS}


def test_our_base_file_is_theirs(our_base_file: Path, same_logits: bool) -> None:
    """Byte for byte where the logits are the same; else the same header and tokens, and log-probabilities close by."""
    ours, theirs = BaseFile.open(our_base_file), BaseFile.open(FIXTURES / "base.kld")
    assert (ours.ctx_size, ours.n_vocab, ours.n_chunks) == (theirs.ctx_size, theirs.n_vocab, theirs.n_chunks)
    np.testing.assert_array_equal(ours.tokens, theirs.tokens)
    if same_logits:
        return
    for chunk in range(theirs.n_chunks):
        decoded = []
        for file in (ours, theirs):
            records = file.records(chunk)
            scale, lowest = records[:, :4].copy().view(np.float32).T
            decoded.append(scale[:, None] * records[:, 4 : 4 + file.n_vocab] + lowest[:, None])
        assert np.abs(decoded[0] - decoded[1]).max() < 0.1
        assert np.abs(decoded[0] - decoded[1]).mean() < 0.005


@pytest.mark.parametrize("preset", PRESETS)
def test_divergence_is_llama_perplexitys(candidates: dict[str, Path], same_logits: bool, preset: str) -> None:
    evaluator = InProcessEvaluator(SETTINGS)
    score = evaluator.score([candidates[preset]], FIXTURES / "base.kld", range(3))
    evaluator.close()
    printed = printed_figures((FIXTURES / f"divergence-{preset}.txt").read_text(encoding="utf-8"))
    ours = our_figures(score)
    assert set(ours) == set(printed)
    wrong = []
    for name, (value, digits) in printed.items():
        unit = 10.0**-digits
        # Half a unit is the rounding of the printed figure; the little more is for sums in another order.
        bound = 0.55 * unit if same_logits else 3 * unit + bound_elsewhere(name, value, printed)
        if abs(ours[name] - value) > bound:
            wrong.append(f"{name}: ours {ours[name]:.{digits + 2}f}, printed {value:.{digits}f}, bound {bound:g}")
    assert not wrong, wrong


def bound_elsewhere(name: str, value: float, printed: dict[str, tuple[float, int]]) -> float:
    """Means within 2 % or a tenth of their error; single tokens' values, which percentiles are, within 10 %."""
    if name.endswith("error"):
        return 0.05 * abs(value)
    if f"{name} error" in printed:
        return max(0.02 * abs(value), 0.1 * printed[f"{name} error"][0])
    scale = printed["Maximum KLD"][0] if name.endswith("KLD") else printed["RMS Δp"][0]
    return 0.1 * abs(value) + 0.01 * scale


def test_divergence_over_growing_numbers_of_chunks(candidates: dict[str, Path], same_logits: bool) -> None:
    evaluator = InProcessEvaluator(SETTINGS)
    score = evaluator.score([candidates["Q2_K"]], FIXTURES / "base.kld", range(3))
    evaluator.close()
    rows = [
        [float(word) for word in re.findall(r"-?\d+\.?\d*", line)]
        for line in (FIXTURES / "divergence-Q2_K.txt").read_text(encoding="utf-8").splitlines()
        if re.match(r" +\d+ ", line)
    ]
    assert [row[0] for row in rows] == [1, 2, 3]
    for row in rows:
        part = Score(score.chunks[: int(row[0])])
        allowed = 1.0 if same_logits else 400.0
        assert part.perplexity == pytest.approx(row[1], abs=0.55e-4 * allowed)
        assert part.mean_kld == pytest.approx(row[5], abs=0.55e-5 * allowed)
        assert part.mean_kld_standard_error == pytest.approx(row[6], abs=0.55e-5 * allowed)


@pytest.mark.parametrize(
    ("fixture", "settings", "chunks"),
    [
        ("perplexity", RuntimeSettings(ctx_size=256, threads=1), 20),
        ("perplexity-base", SETTINGS, 3),
        ("perplexity-chunk-longer-than-batch", RuntimeSettings(ctx_size=512, batch_size=128, threads=1), 4),
    ],
)
def test_perplexity_is_llama_perplexitys(
    same_logits: bool, fixture: str, settings: RuntimeSettings, chunks: int
) -> None:
    printed = (FIXTURES / f"{fixture}.txt").read_text()
    running = [float(word) for word in re.findall(r"\[\d+\]([\d.]+)", printed)]
    final = re.search(r"PPL = ([\d.]+) \+/- ([\d.]+)", printed)
    assert final is not None
    with Runtime([MODEL], settings) as runtime:
        found = measure_perplexity(runtime, tokenize([MODEL], FIXTURES / "text.txt").tokens, range(chunks))
    allowed = 1.0 if same_logits else 100.0
    means = np.cumsum(found.chunk_nll) / np.arange(1, chunks + 1)
    np.testing.assert_allclose(np.exp(means), running, atol=0.55e-4 * allowed)
    assert found.value == pytest.approx(float(final[1]), abs=0.55e-4 * allowed)
    assert found.standard_error == pytest.approx(float(final[2]), abs=0.55e-5 * allowed)


def test_the_bundled_model_does_not_differ_from_itself(tmp_path: Path) -> None:
    """The own format has no 16-nat floor: 1e-6 at most, where a base file of the same logits shows 1e-5 and more."""
    evaluator = InProcessEvaluator(SETTINGS)
    found = evaluate_file(evaluator, [MODEL], [MODEL], text=FIXTURES / "text.txt", chunks=8, folder=tmp_path / "ref")
    evaluator.close()
    assert abs(found["mean_kld"]) <= 1e-6
    assert found["kld_percentiles"]["max"] <= 1e-5
    assert found["top1_agreement"] == 1.0


def printed_figures(text: str) -> dict[str, tuple[float, int]]:
    """Name -> (value, decimals) of the statistics, "NAME error" for what follows a ±."""
    figures = {}
    for line in text.splitlines():
        matched = re.match(r"^ ?(.+?) *: *(-?[\d.]+)%?(?: ± *([\d.]+))?", line)
        if matched is None or line.startswith("   "):
            continue
        name = re.sub(" +", " ", matched[1])
        for key, word in ((name, matched[2]), (f"{name} error", matched[3])):
            if word is not None:
                figures[key] = (float(word), len(word.partition(".")[2]))
    return figures


def our_figures(score: Score) -> dict[str, float]:
    estimates = {
        "Mean PPL(Q)": Estimate(score.perplexity, score.perplexity_standard_error),
        "Mean PPL(base)": Estimate(score.reference_perplexity, score.reference_perplexity_standard_error),
        "Mean ln(PPL(Q)/PPL(base))": score.log_perplexity_ratio,
        "Mean PPL(Q)/PPL(base)": score.perplexity_ratio,
        "Mean PPL(Q)-PPL(base)": score.perplexity_difference,
        "Mean KLD": score.kld,
        "Mean Δp": in_percent(score.delta_p),
        "RMS Δp": in_percent(score.rms_delta_p_estimate),
        "Same top p": in_percent(score.top1_agreement_estimate),
    }
    figures = {"Cor(ln(PPL(Q)), ln(PPL(base)))": 100.0 * score.log_perplexity_correlation}
    for name, estimate in estimates.items():
        figures |= {name: estimate.value, f"{name} error": estimate.standard_error}
    for word, values, factor in (("KLD", score.kld_percentiles, 1.0), ("Δp", score.delta_p_percentiles, 100.0)):
        for level, value in values.items():
            figures[f"{ {'max': 'Maximum', 'min': 'Minimum', '50.0': 'Median'}.get(level, level + '%') } {word}"] = (
                factor * value
            )
    return figures


def in_percent(estimate: Estimate) -> Estimate:
    return Estimate(100.0 * estimate.value, 100.0 * estimate.standard_error)
