"""The model with experts that the fixtures of importance matrices were made of; see make_imatrix_fixtures.sh."""

from pathlib import Path

from tests.models import tiny_model


def experts_model(folder: Path) -> Path:
    """Two layers of four experts, of which each token uses two."""
    return tiny_model(folder, "qwen3moe", n_layer=2, ffn=256, experts=4, seed=11, name="experts")
