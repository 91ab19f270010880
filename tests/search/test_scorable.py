"""Models that give no next-token logits are refused before any work."""

from pathlib import Path

import pytest

from optimizer.config import SearchConfig
from optimizer.errors import GgufError
from optimizer.gguf.metadata import ValueType, encode_pair
from optimizer.search.planning import make_plan
from tests.models import tiny_model


@pytest.mark.parametrize(
    ("architecture", "extra", "what"),
    [
        ("qwen3", [encode_pair("qwen3.attention.causal", ValueType.BOOL, False)], "looks at later tokens"),
        ("t5", [], "encoder-decoder"),
        ("eagle3", [], "draft model"),
    ],
)
def test_it_is_said_at_once_and_what_works_instead(tmp_path: Path, architecture: str, extra: list, what: str) -> None:
    path = tiny_model(tmp_path, architecture, n_layer=1, extra=extra)
    with pytest.raises(GgufError, match=rf"the architecture {architecture} is .*{what}.*layerquant plan"):
        make_plan(SearchConfig.load(None, {"model": str(path)}))


def test_a_causal_model_that_says_so_is_planned(tmp_path: Path) -> None:
    extra = [encode_pair("qwen3.attention.causal", ValueType.BOOL, True)]
    path = tiny_model(tmp_path, n_layer=1, extra=extra)
    assert make_plan(SearchConfig.load(None, {"model": str(path)})).model.architecture == "qwen3"
