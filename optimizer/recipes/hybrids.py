"""Hand-made recipes that people published (configs/hybrids/), and their stretching onto models of another depth."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from optimizer.errors import RecipeError
from optimizer.recipes.flags import parse_flags
from optimizer.recipes.layer_types import LayerTypes, parse

HYBRIDS_FOLDER = Path(__file__).resolve().parents[2] / "configs" / "hybrids"


@dataclass(frozen=True, slots=True)
class Hybrid:
    name: str
    source: str
    """Who published it and where."""
    architecture: str
    n_layer: int
    layer_types: LayerTypes
    published: Mapping[str, float]
    """The card's figures: size_bytes, ppl, iq4_xs_size_bytes, iq4_xs_ppl."""

    def stretched(self, n_layer: int) -> LayerTypes:
        """The profile over another number of layers: first and last stay, those between keep their relative place.

        Meta rows and FLAGS stay as they are.
        """
        names = self.layer_types.names()
        steps = max(n_layer - 1, 1)
        rows = tuple(
            (layer, names[(2 * layer * (self.n_layer - 1) + steps) // (2 * steps)]) for layer in range(n_layer)
        )
        return LayerTypes(rows, self.layer_types.meta_rows, self.layer_types.flags)


def load_hybrids(folder: Path = HYBRIDS_FOLDER) -> dict[str, Hybrid]:
    """All hybrids of a folder, by name."""
    hybrids = (read_hybrid(path) for path in sorted(folder.glob("*.yaml")))
    return {hybrid.name: hybrid for hybrid in hybrids}


def read_hybrid(path: Path) -> Hybrid:
    """One hybrid's file. Raises RecipeError where a key is missing or a row wrong."""
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        read = parse(document["layer_types"])
        n_layer = int(document["n_layer"])
        layer_types = LayerTypes(read.rows, read.meta_rows, parse_flags(document["flags"]))
        published = {str(key): float(value) for key, value in document.get("published", {}).items()}
        hybrid = Hybrid(document["name"], document["source"], document["architecture"], n_layer, layer_types, published)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: the hybrid cannot be read: {error}.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecipeError(
            f"{path}: a hybrid has name, source, architecture, n_layer, flags and layer_types ({error!r})."
        ) from error
    if sorted(layer_types.names()) != list(range(n_layer)):
        raise RecipeError(f"{path}: its rows are not the layers 0 to {n_layer - 1}.")
    return hybrid
