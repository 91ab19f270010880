"""A model without some of its layers: the others renumbered as `llama-quantize --prune-layers` does it, and loadable.

llama-quantize rewrites `block_count` and nothing else (llama-quant.cpp of the pinned llama.cpp), and llama.cpp then
refuses a file whose arrays of one value a layer are too long, or takes the wrong value for every later layer. Here such
arrays lose the layers' values, the count of leading dense layers those that were among them, and a pattern that
llama.cpp would expand from a period (sliding window, recurrent layers) is written out, so that every layer that stays
is what it was. Where a layer's kind follows from its number and no key can say otherwise, pruning is refused.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from optimizer.errors import RecipeError
from optimizer.gguf.header import Header
from optimizer.gguf.metadata import KeyValue, Metadata, Scalar, ValueType, encode_pair, uint32_pair
from optimizer.gguf.model_file import ModelFile, block_number

_BLOCK = re.compile(r"blk\.\d+\.")
_NOT_BY_LAYER = frozenset({"rope.dimension_sections", "classifier.output_labels"})
"""Arrays that may be as long as the model has layers, and are not about layers."""

_WINDOW, _RECURRENT = "attention.sliding_window_pattern", "attention.recurrent_layers"
_WINDOW_PERIODS: Mapping[str, tuple[int, bool]] = MappingProxyType(
    {
        "cohere2": (4, False),
        "cohere2moe": (4, True),
        "exaone-moe": (4, False),
        "exaone4": (4, False),
        "gemma-embedding": (6, False),
        "gemma2": (2, False),
        "gemma3": (6, False),
        "gpt-oss": (2, False),
        "mellum": (4, False),
        "muse-glimmer": (4, False),
        "olmo2": (4, False),
        "plamo3": (8, False),
    }
)
"""Architecture -> (period, dense layer first) of `load_swa_pattern`; the file's own scalar key goes before."""
_RECURRENT_PERIODS: Mapping[str, int] = MappingProxyType(
    {"minimax-01": 8, "qwen35": 4, "qwen35moe": 4, "qwen3next": 4, "qwen4exp": 4}
)
"""Architecture -> default of `full_attention_interval`, where `recurrent_layers` is not there."""
_BY_NUMBER = frozenset(
    {
        "afmoe", "deepseek4", "gemma3n", "gemma4", "granite-switch", "hrm-text", "kimi-k3", "llama4", "modern-bert",
        "nanbeige", "nomic-bert-moe", "smallthinker", "smollm3",
    }
)  # fmt: skip
"""Architectures with layers whose kind (RoPE, experts, shared K and V) follows from their number alone."""
_BY_COUNT: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "baichuan": frozenset({40}),
        "deepseek2": frozenset({26, 27, 47, 48}),
        "exaone4": frozenset({64}),
        "gemma2": frozenset({46}),
        "gemma3": frozenset({62}),
    }
)
"""Architecture -> numbers of layers that llama.cpp tells a variant by, and computes it otherwise (attention scale)."""
_STEPS = ("interleave_moe_layer_step", "moe_every_n_layers", "rescale_every_n_layers", "attention.shared_kv_layers")
"""Keys that give layers a kind by their number, where they are above what is named here."""
_HARMLESS_STEP = {"interleave_moe_layer_step": 1}


def check_pruned_layers(model: ModelFile, layers: Iterable[int]) -> tuple[int, ...]:
    """The layers in ascending order, each once, as llama-quantize sorts them.

    Raises RecipeError for layer 0, a layer that is not there or predicts several tokens, and for an architecture whose
    layers cannot be renumbered.
    """
    wanted = tuple(sorted(set(layers)))
    name, main = model.paths[0].name, model.n_layer - model.n_nextn_layer
    for layer in wanted:
        if not 0 <= layer < model.n_layer:
            raise RecipeError(f"layer {layer} cannot be pruned: {name} has layers 0 to {model.n_layer - 1}.")
        if layer == 0:
            raise RecipeError(
                "layer 0 cannot be pruned: it turns embeddings into what all others read, and no model survives that. "
                f"Name layers from 1 to {main - 1}."
            )
        if layer >= main:
            raise RecipeError(
                f"layer {layer} cannot be pruned: it is one of the {model.n_nextn_layer} layers of {name} that predict "
                f"several tokens ahead. Name layers from 1 to {main - 1}."
            )
    if wanted:
        _check_architecture(model, len(wanted))
    return wanted


def without_layers(model: ModelFile, layers: Iterable[int]) -> ModelFile:
    """The model as a file without these layers holds it: tensors renamed, metadata rewritten, data where it was.

    Raises what `check_pruned_layers` raises.
    """
    gone = check_pruned_layers(model, layers)
    if not gone:
        return model
    first, *others = model.headers
    metadata = Metadata(_pruned_pairs(model, gone))
    headers = (replace(_renamed(first, gone), metadata=metadata), *(_renamed(header, gone) for header in others))
    tensors = tuple(
        replace(tensor, name=renumbered(tensor.name, gone))
        for tensor in model.tensors
        if block_number(tensor.name) not in gone
    )
    return ModelFile(headers, model.architecture, model.n_layer - len(gone), tensors, gone, model.added)


def renumbered(name: str, pruned: Sequence[int]) -> str:
    """A tensor's name once these layers are gone."""
    layer = block_number(name)
    before = sum(gone < layer for gone in pruned)
    return _BLOCK.sub(f"blk.{layer - before}.", name, count=1) if before else name


def _renamed(header: Header, gone: tuple[int, ...]) -> Header:
    kept = [tensor for tensor in header.tensors if block_number(tensor.name) not in gone]
    return replace(header, tensors=tuple(replace(tensor, name=renumbered(tensor.name, gone)) for tensor in kept))


def _check_architecture(model: ModelFile, count: int) -> None:
    arch, found = model.architecture, _BY_COUNT.get(model.architecture, frozenset())
    why = None
    if arch in _BY_NUMBER:
        why = "what a layer of this architecture does follows from its number"
    elif {model.n_layer, model.n_layer - count} & found:
        why = f"llama.cpp tells variants of this architecture by their number of layers ({model.n_layer})"
    for key in _STEPS:
        value = model.metadata.integer(f"{arch}.{key}")
        if value is not None and value > _HARMLESS_STEP.get(key, 0):
            why = f"{arch}.{key} is {value}, so what a layer does follows from its number"
    if why:
        raise RecipeError(f"{model.paths[0].name} ({arch}) cannot be pruned: {why}. Leave pruning off for this model.")


def _pruned_pairs(model: ModelFile, gone: tuple[int, ...]) -> list[KeyValue]:
    arch, metadata = model.architecture, model.metadata
    count_key, dense_key = f"{arch}.block_count", f"{arch}.leading_dense_block_count"
    pairs = [_shortened(pair, model, gone) for pair in metadata.pairs if pair.key != count_key]
    leading = metadata.integer(dense_key)
    if leading and any(layer < leading for layer in gone):
        left = leading - sum(layer < leading for layer in gone)
        pairs = [uint32_pair(dense_key, left) if pair.key == dense_key else pair for pair in pairs]
    pairs.append(uint32_pair(count_key, model.n_layer - len(gone)))
    for key, kind in _expanded(model).items():
        pairs = [pair for pair in pairs if pair.key != key]
        values: list[Scalar] = [kind(layer) for layer in range(model.n_layer) if layer not in gone]
        pairs.append(encode_pair(key, ValueType.BOOL, values))
    _check_both_kinds(model, {pair.key: pair for pair in pairs})
    return pairs


def _check_both_kinds(model: ModelFile, pairs: Mapping[str, KeyValue]) -> None:
    """llama.cpp ends its process on a hybrid model that has attention in no layer, or recurrence in none."""
    heads, recurrent = f"{model.architecture}.attention.head_count_kv", f"{model.architecture}.{_RECURRENT}"
    for key in (heads, recurrent):
        before = model.metadata.pair(key)
        kind = _expanded(model).get(key)
        kinds = {bool(kind(layer)) for layer in range(model.n_layer)} if kind else _kinds(before)
        if len(kinds) > 1 and len(_kinds(pairs.get(key))) < 2:
            raise RecipeError(
                f"{model.paths[0].name} ({model.architecture}) mixes attention and recurrent layers, and pruning all "
                "of one kind leaves a model that llama.cpp cannot run. Leave one of each."
            )


def _kinds(pair: KeyValue | None) -> set[bool]:
    values = pair.decode() if pair is not None else ()
    return {bool(value) for value in values} if isinstance(values, tuple) else set()


def _shortened(pair: KeyValue, model: ModelFile, gone: tuple[int, ...]) -> KeyValue:
    """An array of one value a layer (next-token layers counted or not) without the values of those that go."""
    prefix = f"{model.architecture}."
    lengths = (model.n_layer, model.n_layer - model.n_nextn_layer)
    if not pair.is_array or not pair.key.startswith(prefix) or pair.count not in lengths:
        return pair
    if pair.key.removeprefix(prefix) in _NOT_BY_LAYER:
        return pair
    values = pair.decode()
    assert isinstance(values, tuple)
    kept = [value for layer, value in enumerate(values) if layer not in gone]
    return encode_pair(pair.key, pair.value_type, kept)


def _expanded(model: ModelFile) -> dict[str, Callable[[int], bool]]:
    """Key -> whether a layer is of the kind that the key marks, for patterns that the file gives as a period or not
    at all.
    """
    arch, metadata = model.architecture, model.metadata
    found: dict[str, Callable[[int], bool]] = {}
    main = model.n_layer - model.n_nextn_layer
    window, recurrent = f"{arch}.{_WINDOW}", f"{arch}.{_RECURRENT}"
    if arch in _WINDOW_PERIODS and not _is_array(metadata, window):
        default, dense_first = _WINDOW_PERIODS[arch]
        period = default if metadata.integer(window) is None else metadata.integer(window) or 0
        dense = 0 if dense_first else period - 1
        found[window] = lambda layer: layer < main and (period == 0 or layer % period != dense)
    if arch in _RECURRENT_PERIODS and not _is_array(metadata, recurrent):
        interval = metadata.integer(f"{arch}.full_attention_interval") or _RECURRENT_PERIODS[arch]
        found[recurrent] = lambda layer: layer < main and (layer + 1) % interval != 0
    return found


def _is_array(metadata: Metadata, key: str) -> bool:
    pair = metadata.pair(key)
    return pair is not None and pair.is_array
