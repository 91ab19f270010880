"""Hands a finished search over: LAYER_TYPES, tensor-type file, llama-quantize command, model card, report page.

Everything here turns plain values into text. It reads model headers, and no database, no tensor data and no network;
whole files are made by `optimizer.quantization`.
"""

from optimizer.export.layer_types_text import layer_types_text
from optimizer.export.model_card import model_card
from optimizer.export.quantize_command import quantize_command
from optimizer.export.report_page import report_page
from optimizer.export.report_view import Report
from optimizer.export.tensor_type_file import tensor_type_file

__all__ = ["Report", "layer_types_text", "model_card", "quantize_command", "report_page", "tensor_type_file"]
