"""Texts that the field knows by a name, and the files of the hub that hold them."""

from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.sources.hub_name import SCHEME, HubName

WIKITEXT = "wikitext-2-raw"
CALIBRATION = "eaddario/imatrix-calibration"
DEFAULT_CALIBRATION = "combined_all_small"


@dataclass(frozen=True)
class NamedText:
    """`sha256`: of the text, where one revision of it is meant and its digest is published."""

    file: HubName
    sha256: str | None = None


def _wikitext(split: str, sha256: str) -> NamedText:
    """Of the archive that llama.cpp's scripts/get-wikitext-2.sh fetches, at a fixed commit."""
    archive = HubName("dataset", "ggml-org/ci", "wikitext-2-raw-v1.zip", "927b3642933080f1b0e811e2f916e14c292992f9")
    member = f"wikitext-2-raw/wiki.{split}.raw"
    return NamedText(HubName(archive.kind, archive.repository, archive.file, archive.revision, member), sha256)


_TEST = _wikitext("test", "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08")
TEXTS: Mapping[str, NamedText] = {
    WIKITEXT: _TEST,
    f"{WIKITEXT}/test": _TEST,
    f"{WIKITEXT}/valid": _wikitext("valid", "4cd0f6876d07a413aa911261ff6d363c72d757d47f0fdd6015702014c89cb9c7"),
    f"{WIKITEXT}/train": _wikitext("train", "6707892fa3788b5ab9ed78ab5ff37d9fe825f6011a2ad4fcd6a6d467f0e7da57"),
}


def named_text(name: str) -> NamedText | None:
    """The text of this name; None where it is no name.

    `eaddario/imatrix-calibration/FILE` names a file of that dataset, without `.parquet`, and may end in @REVISION.
    """
    if name in TEXTS:
        return TEXTS[name]
    text, at, revision = name.partition("@")
    if text == CALIBRATION:
        text = f"{CALIBRATION}/{DEFAULT_CALIBRATION}"
    if not text.startswith(f"{CALIBRATION}/"):
        return None
    file = text if text.lower().endswith((".parquet", ".txt", ".raw")) else f"{text}.parquet"
    return NamedText(HubName.parse(f"{SCHEME}datasets/{file}{at}{revision}"))
