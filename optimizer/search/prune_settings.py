"""Which layers a search may leave out: the settings, checked before anything is built, and the candidates they name."""

from collections.abc import Sequence

from optimizer.config import SearchConfig
from optimizer.errors import ConfigError
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.pruning import check_pruned_layers


def check_prune(config: SearchConfig, model: ModelFile) -> None:
    """Refuse what cannot be pruned, before anything is built: RecipeError for layers, ConfigError for numbers."""
    if not config.prune:
        return
    main = model.n_layer - model.n_nextn_layer
    given = config.prune_candidates
    count = len(set(given)) if isinstance(given, tuple) else min(given, main - 2)
    if config.prune > max(count, 0):
        raise ConfigError(
            f"prune={config.prune}: only {max(count, 0)} layers may go ({model.paths[0].name} has {main}; the first "
            "stays, and the last unless it is named); prune fewer, or set prune_candidates"
        )
    check_pruned_layers(model, given if isinstance(given, tuple) else [1])


def candidate_layers(config: SearchConfig, influences: Sequence[float]) -> tuple[int, ...]:
    """The layers to try, least influence first; those named in their own order. Never the first, nor the last."""
    if isinstance(config.prune_candidates, tuple):
        return tuple(dict.fromkeys(config.prune_candidates))
    inner = range(1, len(influences) - 1)
    return tuple(sorted(inner, key=lambda layer: (influences[layer], layer))[: config.prune_candidates])
