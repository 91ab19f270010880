"""Hands a finished search over: LAYER_TYPES, tensor-type file, llama-quantize command, model card, report page.

Everything here turns plain values into text. It reads model headers, and no database, no tensor data and no network;
whole files are made by `optimizer.quantization`.
"""
