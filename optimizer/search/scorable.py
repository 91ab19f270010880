"""Models whose damage can be measured at all: those that predict a next token from the tokens before it."""

from collections.abc import Mapping
from types import MappingProxyType

from optimizer.errors import GgufError
from optimizer.gguf.model_file import ModelFile

_OTHER_KINDS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(["t5", "t5encoder"], "an encoder-decoder")
    | dict.fromkeys(["eagle3", "dflash", "gemma4-assistant"], "a draft model, which runs beside its target only")
    | dict.fromkeys(["wavtokenizer-dec", "pockettts", "qwen3tts"], "a speech model")
)
"""Architectures of llama.cpp without next-token logits that no other key tells."""


def check_scorable(model: ModelFile) -> None:
    """Raises GgufError for embedding, diffusion, encoder-decoder, draft and speech models, before any work."""
    what = _OTHER_KINDS.get(model.architecture)
    if model.metadata.get(f"{model.architecture}.attention.causal") is False:
        what = "a model that looks at later tokens as well (an embedding or a diffusion model)"
    if what is not None:
        raise GgufError(
            f"{model.paths[0]}: the architecture {model.architecture} is {what}; it gives no next-token logits, so "
            "there is no KL divergence to search by. `layerquant plan` and `layerquant quantize` work for it."
        )
