"""A recipe that prunes layers, in the terms of the file it makes: that file's tensors, names, types and metadata."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.gguf.model_file import ModelFile, block_number
from optimizer.gguf.pruning import renumbered, without_layers
from optimizer.recipes.recipe import Recipe


@dataclass(frozen=True)
class PrunedFile:
    """What a recipe's file is made of. Without pruned layers: the model and the recipe as they are."""

    model: ModelFile
    """The source without the pruned layers, its tensors under the names they have in the file."""
    tensor_types: Mapping[str, str]
    """Of the quantizable tensors, by name in the file."""
    origin: Mapping[str, str]
    """Name in the file -> name in the source, for all tensors."""

    @classmethod
    def of(cls, model: ModelFile, recipe: Recipe) -> "PrunedFile":
        """Raises RecipeError where the layers cannot be pruned (`optimizer.gguf.pruning.check_pruned_layers`)."""
        layers = recipe.pruned_layers
        if not layers:
            return cls(model, recipe.tensor_types, {tensor.name: tensor.name for tensor in model.tensors})
        kept = [tensor.name for tensor in model.tensors if block_number(tensor.name) not in layers]
        types = {renumbered(name, layers): given for name, given in recipe.kept_types.items()}
        return cls(without_layers(model, layers), types, {renumbered(name, layers): name for name in kept})

    @property
    def recipe(self) -> Recipe:
        """The recipe by names in the file: one that prunes nothing of `model`."""
        return Recipe(self.tensor_types)

    def quantizable(self, names: Sequence[str]) -> tuple[str, ...]:
        """The quantizable tensors that are left, by name in the file, in llama.cpp's order."""
        known = set(names)
        return tuple(new for new, old in self.origin.items() if old in known)
