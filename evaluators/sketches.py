"""A chunk's error sketch as text: its direction in numbers of two bytes; half of its squared length is the chunk's KLD.

What the numbers are is said at `evaluators.kernel.error_rows`.
"""

import base64

import numpy as np
from numpy.typing import NDArray

from evaluators.kernel import SKETCH_SIZE


def encode_sketch(errors: NDArray[np.float64], kld_sum: float) -> str | None:
    """errors: [SKETCH_SIZE], only its direction counts. None where there is none, or no KLD."""
    length = float(np.linalg.norm(errors))
    if not (length > 0 and kld_sum > 0):
        return None
    unit = (errors / length).astype("<f2")
    return base64.b64encode(unit.tobytes()).decode("ascii")


def decode_sketch(sketch: str | None, kld_sum: float) -> NDArray[np.float64]:
    """[SKETCH_SIZE], of the squared length 2 * kld_sum; zeros where nothing was lost. Raises ValueError."""
    if sketch is None:
        return np.zeros(SKETCH_SIZE)
    unit = np.frombuffer(base64.b64decode(sketch, validate=True), dtype="<f2").astype(np.float64)
    if unit.shape != (SKETCH_SIZE,):
        raise ValueError(f"an error sketch has {SKETCH_SIZE} numbers, this one {unit.size}")
    vector: NDArray[np.float64] = unit * (np.sqrt(2.0 * max(kld_sum, 0.0)) / np.linalg.norm(unit))
    return vector
