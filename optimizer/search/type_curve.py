"""What each tensor type costs the whole model: measured types, and an interpolation over bits per weight."""

import math
from collections.abc import Mapping

from optimizer.gguf.tensor_types import tensor_type as type_of

FLOAT_TYPES = ("F32", "F16", "BF16")


def curve_value(curve: Mapping[str, float], tensor_type: str) -> float:
    """KLD of the whole model at a type: as measured, else ln KLD linear in bits per weight between the nearest two."""
    if tensor_type in curve:
        return curve[tensor_type]
    bits = type_of(tensor_type).bits_per_weight
    points = sorted((type_of(name).bits_per_weight, math.log(value)) for name, value in curve.items())
    if len(points) == 1:
        known_bits, value = points[0]
        return math.exp(value - 2 * math.log(2) * (bits - known_bits))  # error variance falls fourfold a bit
    upper = next((i for i, (known, _) in enumerate(points) if known >= bits), len(points) - 1)
    (x0, y0), (x1, y1) = points[max(1, upper) - 1], points[max(1, upper)]
    slope = (y1 - y0) / (x1 - x0) if x1 > x0 else 0.0
    return math.exp(y0 + slope * (bits - x0))
