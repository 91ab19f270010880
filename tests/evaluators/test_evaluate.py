"""What `layerquant eval` gets, from a model, a folder and a base file as reference."""

from pathlib import Path

import pytest

from evaluators.errors import EvaluationInputError, ReferenceMismatch, TextError
from evaluators.evaluate import evaluate_file
from evaluators.in_process import InProcessEvaluator


def test_every_key_of_the_contract_is_there(
    evaluator: InProcessEvaluator, tiny: Path, tiny_q4: Path, text: Path, tmp_path: Path
) -> None:
    found = evaluate_file(evaluator, [tiny_q4], [tiny], text=text, chunks=4)
    assert found["tokens"] == 4 * 31
    assert found["size_bytes"] == tiny_q4.stat().st_size
    assert 0.0 < found["mean_kld_standard_error"] < found["mean_kld"]
    levels = list(found["kld_percentiles"])
    assert {"99.9", "99.0", "95.0", "90.0", "50.0", "10.0", "5.0", "1.0", "0.1", "max", "min"} == set(levels)
    assert found["perplexity"] != found["reference_perplexity"]
    assert 0.0 <= found["top1_agreement"] <= 1.0
    assert 0.0 < found["rms_delta_p"] < 1.0


def test_all_forms_of_a_reference_agree(
    evaluator: InProcessEvaluator, tiny: Path, tiny_q4: Path, text: Path, tmp_path: Path
) -> None:
    folder, base = tmp_path / "ref", tmp_path / "base.kld"
    from_model = evaluate_file(evaluator, [tiny_q4], [tiny], text=text, chunks=4, folder=folder)
    from_folder = evaluate_file(evaluator, [tiny_q4], [folder], text=None)
    assert from_folder == from_model
    evaluator.write_base_file([tiny], text, base, chunks=4)
    from_base = evaluate_file(evaluator, [tiny_q4], [base], text=text)
    assert from_base["mean_kld"] == pytest.approx(from_model["mean_kld"], rel=0.01)
    assert evaluate_file(evaluator, [tiny_q4], [base], text=None) == from_base


def test_what_does_not_go_together_is_refused(
    evaluator: InProcessEvaluator, tiny: Path, text: Path, tmp_path: Path
) -> None:
    base, other = tmp_path / "base.kld", tmp_path / "other"
    evaluator.write_base_file([tiny], text, base, chunks=2)
    other.write_text("Under other words, " * 200)
    with pytest.raises(ReferenceMismatch, match="not made from the text"):
        evaluate_file(evaluator, [tiny], [base], text=other)
    with pytest.raises(EvaluationInputError, match="3 chunks were asked for"):
        evaluate_file(evaluator, [tiny], [base], text=text, chunks=3)
    with pytest.raises(TextError, match="text is needed"):
        evaluate_file(evaluator, [tiny], [tiny], text=None)
    assert set(tmp_path.iterdir()) == {base, other}
