"""Sums of squared activations for importance matrices, as llama-imatrix collects them.

`collecting` runs a text through a model, `observer` watches the graph as llama.cpp computes it, `squares` does the
arithmetic, `sums` holds what was summed, `sums_file` keeps it on disk. What becomes of the sums is the caller's matter:
optimizer/quantization/imatrix_making.py writes them as an importance matrix.
"""

from evaluators.imatrix.sums_file import Collected, SumsFile, SumsIdentity

__all__ = ["Collected", "SumsFile", "SumsIdentity"]
