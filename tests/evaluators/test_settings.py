import pytest

from evaluators.errors import SettingsError
from evaluators.settings import RuntimeSettings


@pytest.mark.parametrize(
    ("ctx_size", "batch_size", "sequences", "effective", "scored"),
    [(512, 2048, 4, 2048, 255), (500, 2048, 4, 2000, 249), (512, 128, 1, 128, 255), (65, 65, 1, 65, 32)],
)
def test_batch_shape_is_llama_perplexitys(
    ctx_size: int, batch_size: int, sequences: int, effective: int, scored: int
) -> None:
    settings = RuntimeSettings(ctx_size=ctx_size, batch_size=batch_size)
    assert settings.n_sequences == sequences
    assert settings.effective_batch_size == effective
    assert settings.scored_per_chunk == scored


@pytest.mark.parametrize(
    "values",
    [
        {"ctx_size": 2},
        {"batch_size": 0},
        {"ubatch_size": -1},
        {"threads": 0},
        {"flash_attn": "perhaps"},
        {"cache_type_k": "q3_0"},
        {"rope_scaling": "magic"},
        {"cache_type_v": "q8_0", "flash_attn": "off"},
    ],
)
def test_impossible_settings_are_refused_by_name(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError) as caught:
        RuntimeSettings(**values)  # type: ignore[arg-type]
    assert next(iter(values)) in str(caught.value)


def test_settings_survive_a_dictionary_with_the_threads_that_are_used() -> None:
    settings = RuntimeSettings(ctx_size=1024, rope_scaling="yarn", yarn_orig_ctx=32768)
    values = settings.as_dict()
    assert values["threads"] == settings.resolved_threads() >= 1
    assert RuntimeSettings.from_dict(values).yarn_orig_ctx == 32768
    with pytest.raises(SettingsError, match="n_gpu"):
        RuntimeSettings.from_dict({"n_gpu": 1})
