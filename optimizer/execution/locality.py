"""Which machine has which shards, as far as this search has sent recipes there."""

from collections import defaultdict

from optimizer.recipes.recipe import Recipe


class Locality:
    """By host: its workers share a bank. Used under the roster's lock."""

    def __init__(self) -> None:
        self._shards: dict[str, set[tuple[str, str]]] = defaultdict(set)

    def note(self, host: str, recipe: Recipe) -> None:
        """The host makes these shards, or has them."""
        self._shards[host].update(recipe.tensor_types.items())

    def nearness(self, host: str, recipe: Recipe | None) -> int:
        """How many of the recipe's shards the host has, as far as is known."""
        return 0 if recipe is None else len(self._shards[host] & set(recipe.tensor_types.items()))
