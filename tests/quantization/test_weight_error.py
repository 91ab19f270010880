"""Weight errors against gguf-py's own quantizing and dequantizing, with and without an imatrix, and over experts."""

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize

from optimizer.errors import ImatrixError
from optimizer.gguf.header import TensorInfo
from optimizer.quantization.weight_error import weight_errors
from tests.quantization.conftest import Subject, imatrix_of

NAME = "blk.0.ffn_up.weight"


def weights_of(tensor: TensorInfo) -> np.ndarray:
    values = np.fromfile(tensor.path, np.float16, tensor.n_elements, offset=tensor.offset)
    return values.astype(np.float32).reshape(-1, tensor.row_length)


def test_equals_the_definition(dense: Subject) -> None:
    tensor = dense.model.by_name[NAME]
    source = weights_of(tensor)
    kind = gguf.GGMLQuantizationType.Q8_0
    lost = dequantize(quantize(source, kind), kind) - source
    for imatrix in (None, imatrix_of(dense.model)):
        columns = np.ones(tensor.row_length, np.float32) if imatrix is None else imatrix.vectors[NAME]
        expected = ((lost**2 @ columns) / (source**2 @ columns)).sum()
        found = weight_errors(dense.model, [(NAME, "Q8_0")], imatrix, sample_weights=source.size)
        assert found[NAME, "Q8_0"] == pytest.approx(expected, rel=1e-4)


def test_fewer_bits_lose_more_and_the_source_type_nothing(dense: Subject) -> None:
    kinds = ("F16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K")
    found = weight_errors(dense.model, [(NAME, kind) for kind in kinds])
    errors = [found[NAME, kind] for kind in kinds]
    assert errors[0] == 0
    assert errors == sorted(errors)


def test_a_sample_of_rows_is_near_the_whole(dense: Subject) -> None:
    tensor = dense.model.by_name[NAME]
    wanted = [(NAME, "Q3_K"), (NAME, "Q5_K")]
    whole = weight_errors(dense.model, wanted, sample_weights=tensor.n_elements, threads=1)
    sampled = weight_errors(dense.model, wanted, sample_weights=tensor.n_elements // 8)
    assert sampled != whole
    for pair in wanted:
        assert sampled[pair] == pytest.approx(whole[pair], rel=0.1)


def test_every_expert_counts_with_its_own_importance(experts: Subject) -> None:
    name = "blk.0.ffn_up_exps.weight"
    tensor = experts.model.by_name[name]
    imatrix = imatrix_of(experts.model)
    source = weights_of(tensor).reshape(tensor.n_matrices, -1, tensor.row_length)
    kind = gguf.GGMLQuantizationType.Q8_0
    expected = 0.0
    for matrix, columns in zip(source, imatrix.vectors[name].reshape(tensor.n_matrices, -1), strict=True):
        lost = dequantize(quantize(matrix, kind), kind) - matrix
        expected += float(((lost**2 @ columns) / (matrix**2 @ columns)).sum())
    found = weight_errors(experts.model, [(name, "Q8_0")], imatrix, sample_weights=tensor.n_elements)
    assert found[name, "Q8_0"] == pytest.approx(expected, rel=1e-4)


def test_a_type_that_needs_importance_is_refused_without(dense: Subject) -> None:
    with pytest.raises(ImatrixError, match="needs an importance matrix"):
        weight_errors(dense.model, [(NAME, "IQ2_XXS")])
