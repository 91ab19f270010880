"""What it takes to make one tensor, checked before any work starts: source, type, row length, importance."""

from collections.abc import Mapping, Sequence

from optimizer.errors import GgufError, RecipeError
from optimizer.gguf.header import TensorInfo
from optimizer.gguf.model_file import NATIVE_TYPES, ModelFile
from optimizer.gguf.tensor_types import TARGET_TYPES, TENSOR_TYPES, fits_row
from optimizer.quantization.imatrix import Imatrix, importance_for
from optimizer.quantization.rows import TensorJob


def tensor_job(
    tensor: TensorInfo, tensor_type: str, imatrix: Imatrix | None = None, *, allow_requantize: bool = False
) -> TensorJob:
    """The job of making `tensor_type` out of a source tensor.

    Raises:
        RecipeError: a type that ggml does not quantize to, or whose blocks do not divide the tensor's rows.
        GgufError: the source is quantized already and `allow_requantize` is not set.
        ImatrixError: the type needs importance and there is none for this tensor, or of another size.
    """
    source_type = tensor.tensor_type
    if tensor_type == source_type:
        return TensorJob(tensor, tensor_type)
    if tensor_type not in TARGET_TYPES:
        raise RecipeError(
            f"{tensor.name} cannot be made {tensor_type}: ggml quantizes to {', '.join(TARGET_TYPES)} only"
        )
    if not fits_row(tensor_type, tensor.row_length):
        raise RecipeError(
            f"{tensor.name} cannot be {tensor_type}: its rows of {tensor.row_length} are no multiple of "
            f"{TENSOR_TYPES[tensor_type].block_size}; use the fallback type that llama-quantize gives such a tensor"
        )
    if TENSOR_TYPES[source_type].is_quantized and not allow_requantize:
        kind = "natively" if source_type in NATIVE_TYPES else "already"
        raise GgufError(
            f"{tensor.path}: {tensor.name} is {kind} {source_type}; quantizing it again to {tensor_type} loses twice. "
            f"Start from the F16 or BF16 model, keep it {source_type}, or say --allow-requantize"
        )
    return TensorJob(tensor, tensor_type, importance_for(imatrix, tensor, tensor_type))


def check_recipe(tensor_types: Mapping[str, str], quantizable: Sequence[str], model: ModelFile) -> None:
    """RecipeError unless the recipe names every quantizable tensor and no other."""
    wanted, given = set(quantizable), set(tensor_types)
    if wanted != given:
        missing, unknown = sorted(wanted - given), sorted(given - wanted)
        faults = [f"{name} has no type" for name in missing[:3]] + [
            f"{name} is not quantizable" for name in unknown[:3]
        ]
        raise RecipeError(
            f"this recipe is not one for {model.paths[0].name}: {'; '.join(faults)}"
            f" ({len(missing)} missing, {len(unknown)} unknown); make it for this model"
        )
    absent = [name for name in quantizable if name not in model.by_name]
    if absent:
        raise RecipeError(f"{model.paths[0].name} has no tensor {absent[0]}; the recipe is another model's")
