import pytest

from optimizer.errors import ConfigError
from optimizer.sources.hub_name import HubName


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://o/r", HubName("model", "o/r")),
        ("hf://o/r@v1", HubName("model", "o/r", None, "v1")),
        ("hf://o/r/BF16/m-00001-of-00002.gguf", HubName("model", "o/r", "BF16/m-00001-of-00002.gguf")),
        ("hf://o/r/m.gguf@abc", HubName("model", "o/r", "m.gguf", "abc")),
        ("hf://o/r@abc/m.gguf", HubName("model", "o/r", "m.gguf", "abc")),
        ("hf://o/r@refs/pr/3/d/m.gguf", HubName("model", "o/r", "d/m.gguf", "refs/pr/3")),
        ("hf://o/r@refs/pr/3", HubName("model", "o/r", None, "refs/pr/3")),
        ("hf://datasets/o/r/a.zip#d/b.txt", HubName("dataset", "o/r", "a.zip", "main", "d/b.txt")),
    ],
)
def test_what_a_name_says(text: str, expected: HubName) -> None:
    assert HubName.parse(text) == expected
    assert HubName.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["hf://", "hf://o", "hf://o/", "hf:///r", "hf://o/r@", "hf://o/r/../x", "hf://o/r//x.gguf", "hf://a b/r"]
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ConfigError, match="OWNER/REPO"):
        HubName.parse(text)
