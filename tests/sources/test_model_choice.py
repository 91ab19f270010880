import pytest

from optimizer.errors import ConfigError
from optimizer.sources.hub_name import HubName
from optimizer.sources.model_choice import all_parts, choose_model

NAME = HubName("model", "o/r")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["m-Q4_K_M.gguf", "m-F16.gguf", "README.md"], "m-F16.gguf"),
        (["m.gguf", "config.json"], "m.gguf"),
        (["m.Q8_0.gguf", "m.bf16.gguf", "mmproj-m-f16.gguf", "imatrix-m-f16.gguf"], "m.bf16.gguf"),
        (["m-F32-00002-of-00002.gguf", "m-Q2_K.gguf", "m-F32-00001-of-00002.gguf"], "m-F32-00001-of-00002.gguf"),
        (["BF16/m-00001-of-00002.gguf", "BF16/m-00002-of-00002.gguf", "Q8_0/m.gguf"], "BF16/m-00001-of-00002.gguf"),
        (["m-fp16.gguf", "m-IQ2_XXS.gguf", "m-MXFP4_MOE.gguf"], "m-fp16.gguf"),
    ],
)
def test_the_full_precision_one_is_chosen(files: list[str], expected: str) -> None:
    assert choose_model(NAME, files) == expected


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["m-F16.gguf", "m-BF16.gguf"], "several full-precision GGUFs.*hf://o/r/m-BF16.gguf, hf://o/r/m-F16.gguf"),
        (["m-Q8_0.gguf", "m-Q4_K_M.gguf"], "no GGUF that is F16.*hf://o/r/m-Q4_K_M.gguf"),
        (["m-Q8_0.gguf"], "no GGUF that is F16"),
        (["a.gguf", "b.gguf"], "no GGUF that is F16"),
        (["model-00001-of-00002.safetensors", "config.json"], "convert_hf_to_gguf.py FOLDER --outtype bf16"),
        (["README.md"], "holds no GGUF"),
        ([], "nothing"),
    ],
)
def test_what_leaves_no_choice_is_said_with_the_candidates(files: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choose_model(NAME, files)


def test_all_parts_of_a_split_model_follow_from_any_of_them() -> None:
    parts = all_parts(HubName("model", "o/r", "d/m-00002-of-00003.gguf", "v1"))
    assert [each.file for each in parts] == [f"d/m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert {each.revision for each in parts} == {"v1"}
