"""Texts by name: the same bytes every time, with their digest and where they came from."""

import hashlib
import io
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from optimizer.config import SearchConfig
from optimizer.errors import ConfigError
from optimizer.search.texts import choose_texts
from optimizer.sources import find_text
from optimizer.sources.named_texts import TEXTS, named_text
from tests.sources.hub_server import COMMIT, FakeHub

ROWS = ["first row\nof two lines", "", "第二行"]


def parquet(**columns: list[object]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file, row_group_size=2)
    return file.getvalue()


def archive(**members: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, text in members.items():
            writer.writestr(f"wikitext-2-raw/wiki.{name}.raw", text)
    return file.getvalue()


def test_a_text_of_a_dataset_with_its_digest_and_its_commit(hub: FakeHub) -> None:
    hub.add("datasets/o/d", {"texts/a.txt": b"some text"}, large=False)
    found = find_text("hf://datasets/o/d/texts/a.txt")
    assert found.path.read_bytes() == b"some text"
    assert found.as_json() == {
        "path": str(found.path),
        "sha256": hashlib.sha256(b"some text").hexdigest(),
        "origin": f"hf://datasets/o/d/texts/a.txt@{COMMIT}",
    }


def test_a_parquet_file_gives_the_rows_of_its_text_column(hub: FakeHub) -> None:
    hub.add("datasets/o/d", {"a.parquet": parquet(content=ROWS, number=[1, 2, 3])})
    found = find_text("hf://datasets/o/d/a.parquet")
    assert found.path.read_text(encoding="utf-8") == "first row\nof two lines\n第二行\n"
    assert find_text("hf://datasets/o/d/a.parquet").path == found.path


def test_calibration_texts_by_their_short_name(hub: FakeHub) -> None:
    hub.add(
        "datasets/eaddario/imatrix-calibration",
        {f"{name}.parquet": parquet(content=[name]) for name in ("combined_all_small", "code_micro")},
    )
    assert find_text("eaddario/imatrix-calibration").path.read_text() == "combined_all_small\n"
    assert find_text(f"eaddario/imatrix-calibration/code_micro@{COMMIT}").path.read_text() == "code_micro\n"


def test_wikitext_is_a_member_of_the_archive_that_llama_cpp_s_script_fetches(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.sources.hub_server.COMMIT", TEXTS["wikitext-2-raw"].file.revision)
    hub.add("datasets/ggml-org/ci", {"wikitext-2-raw-v1.zip": archive(test=" = Robert = ", valid=" = Homarus = ")})
    found = find_text("wikitext-2-raw")
    assert found.path.read_text() == " = Robert = "
    assert found.origin is not None
    assert found.origin.endswith("wikitext-2-raw-v1.zip@927b3642933080f1b0e811e2f916e14c292992f9#"
                                 "wikitext-2-raw/wiki.test.raw")  # fmt: skip
    assert "not the text published under that name" in capsys.readouterr().err.replace("\n", " ")
    assert find_text("wikitext-2-raw/valid").path.read_text() == " = Homarus = "
    assert len(hub.ranges()) == 1


def test_search_and_report_text_may_both_come_from_the_hub(hub: FakeHub) -> None:
    chosen = b"text to choose by"
    hub.add("datasets/o/d", {"a.txt": chosen, "b.txt": b"text to report on", "c.txt": chosen})
    names = {"model": "m.gguf", "search_text": "hf://datasets/o/d/a.txt", "report_text": "hf://datasets/o/d/b.txt"}
    search, report = choose_texts(SearchConfig.load(None, names))
    assert report.as_json()["origin"] == f"hf://datasets/o/d/b.txt@{COMMIT}"
    assert search.sha256 == hashlib.sha256(chosen).hexdigest()
    with pytest.raises(ConfigError, match="are the same"):
        choose_texts(SearchConfig.load(None, {**names, "report_text": "hf://datasets/o/d/c.txt"}))


def test_a_file_of_the_user_s_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wikitext-2-raw").write_text("mine")
    assert find_text("wikitext-2-raw").path.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf://datasets/o/d", "which file.*hf://datasets/o/d/FILE"),
        ("hf://datasets/o/d/numbers.parquet", "no column `content` or `text` among number"),
        ("hf://datasets/o/d/damaged.parquet", "no readable parquet file"),
        ("hf://datasets/o/d/damaged.zip", "no readable zip archive"),
        ("hf://datasets/o/d/two.zip", "holds several files.*wiki.test.raw"),
        ("hf://datasets/o/d/two.zip#wiki.none.raw", "has no file wiki.none.raw"),
        ("hf://datasets/o/d/a.txt#b", "only of a .zip"),
        ("wikitext-3", "no such file"),
    ],
)
def test_what_holds_no_text_is_one_clear_error(hub: FakeHub, tmp_path: Path, name: str, said: str) -> None:
    files = {"numbers.parquet": parquet(number=[1, 2]), "damaged.parquet": b"PAR1", "damaged.zip": b"PK", "a.txt": b"a"}
    hub.add("datasets/o/d", {**files, "two.zip": archive(test="a", valid="b")})
    with pytest.raises(ConfigError, match=said):
        find_text(name)
    assert not list((tmp_path / "hf/assets/layerquant/texts").rglob("*.txt"))


def test_names() -> None:
    assert named_text("my.txt") is None
    assert named_text("eaddario/imatrix-calibration-2") is None
