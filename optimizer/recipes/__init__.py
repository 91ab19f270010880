"""From names to tensor types to exact bytes: presets, layer types, LAYER_TYPES strings, recipes, sizes.

It may read GGUF headers and ask llama.cpp, in a child process, what its presets mean. It quantizes nothing.
"""
