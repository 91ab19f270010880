"""Bytes of the file a recipe makes, exactly, before anything is quantized.

A file is its header, padded to 32, and every tensor, each padded to 32. The header's size does not depend on the
tensors' types. So the size is one constant of the model plus one padded size a tensor.
"""

from collections.abc import Sequence
from functools import cached_property

from optimizer.gguf import ModelFile, tensor_bytes
from optimizer.gguf.metadata import KeyValue
from optimizer.gguf.provenance import KEY, placeholder_pair
from optimizer.gguf.write import header_size, padded
from optimizer.recipes.pruned import PrunedFile
from optimizer.recipes.recipe import Recipe


class SizeTable:
    """Sizes of one model's tensors and files, in bytes."""

    def __init__(self, model: ModelFile, quantizable: Sequence[str], block_tensors: int | None = None) -> None:
        """block_tensors: how many tensors the metadata block names, where these are not the quantizable ones."""
        self.model = model
        self.quantizable = tuple(quantizable)
        self._block_tensors = len(self.quantizable) if block_tensors is None else block_tensors
        self._pruned: dict[tuple[int, ...], SizeTable] = {}

    def tensor_bytes(self, name: str, tensor_type: str) -> int:
        """Bytes the tensor takes in a file, padding included. ValueError where its rows do not fit the type."""
        return padded(tensor_bytes(self.model.by_name[name].shape, tensor_type))

    def header_bytes(self, *, plain: bool) -> int:
        """Bytes of everything before the first tensor's data."""
        pairs: tuple[KeyValue, ...] = self.model.output_pairs
        if not plain:  # a source made by this program carries a block already, and it is replaced
            pairs = (*(pair for pair in pairs if pair.key != KEY), placeholder_pair(self._block_tensors))
        return header_size(pairs, [(tensor.name, len(tensor.shape)) for tensor in self.model.tensors])

    @cached_property
    def unquantized_bytes(self) -> int:
        """Bytes of the tensors that every recipe keeps as they are."""
        known = set(self.quantizable)
        return sum(padded(tensor.n_bytes) for tensor in self.model.tensors if tensor.name not in known)

    def fixed_bytes(self, *, plain: bool = False) -> int:
        """What every file of this model has, whatever the recipe."""
        return (self._plain_header if plain else self._own_header) + self.unquantized_bytes

    def file_size(self, recipe: Recipe, *, plain: bool = False) -> int:
        """Bytes of the file on disk.

        Args:
            plain: as llama-quantize writes it; otherwise with this program's metadata block of fixed length.
        """
        if recipe.pruned_layers:
            made = PrunedFile.of(self.model, recipe)
            return self.without(recipe.pruned_layers).file_size(made.recipe, plain=plain)
        types = recipe.tensor_types
        return self.fixed_bytes(plain=plain) + sum(self.tensor_bytes(name, types[name]) for name in self.quantizable)

    def without(self, layers: tuple[int, ...]) -> "SizeTable":
        """The sizes of the model with these layers pruned, by names in the pruned file."""
        if layers not in self._pruned:
            dropped = Recipe(dict.fromkeys(self.quantizable, "F32")).without_layers(layers)
            made = PrunedFile.of(self.model, dropped)
            self._pruned[layers] = SizeTable(made.model, made.quantizable(self.quantizable), self._block_tensors)
        return self._pruned[layers]

    def bits_per_weight(self, size_bytes: int) -> float:
        """Of the whole file, over all weights of the model."""
        return 8.0 * size_bytes / self.model.n_elements

    @cached_property
    def _plain_header(self) -> int:
        return self.header_bytes(plain=True)

    @cached_property
    def _own_header(self) -> int:
        return self.header_bytes(plain=False)
