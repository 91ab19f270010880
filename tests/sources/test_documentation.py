"""docs/sources.md against the code that it describes."""

import re
import tomllib
from pathlib import Path

import pytest

from optimizer.errors import GgufError
from optimizer.sources import find_model
from optimizer.sources.named_texts import DEFAULT_CALIBRATION, TEXTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")


def test_the_converter_is_that_of_the_pinned_llama_cpp() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (pinned,) = [each for each in settings["project"]["dependencies"] if each.startswith("llama-cpp-python==")]
    assert set(re.findall(r"llama[-_]cpp[-_]python(?:==|-)([0-9.]*[0-9])", PAGE)) == {pinned.partition("==")[2]}


def test_the_answer_to_a_checkpoint_uses_the_documented_options(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(GgufError) as raised:
        find_model(tmp_path)
    (line,) = re.findall(r"^python \S*convert_hf_to_gguf.py.*$", PAGE, re.MULTILINE)
    assert re.findall(r"--\w+", str(raised.value)) == re.findall(r"--\w+", line) == ["--outtype", "--outfile"]
    assert "docs/sources.md" in str(raised.value)


def test_named_texts_are_documented() -> None:
    for name, text in TEXTS.items():
        assert f"`{name}`" in PAGE
        assert text.file.revision[:8] in PAGE
    assert TEXTS["wikitext-2-raw"].sha256 is not None
    assert TEXTS["wikitext-2-raw"].sha256[:8] in PAGE
    assert f"`{DEFAULT_CALIBRATION}.parquet`" in PAGE
