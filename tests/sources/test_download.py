"""Files of a hub: whole, checked, continued where they broke off; every fault is one error and leaves nothing wrong."""

import hashlib
import os
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from optimizer.errors import ConfigError, DownloadError, StorageError
from optimizer.progress import SilentReporter
from optimizer.sources.download import PARTIAL, fetch
from optimizer.sources.hub import Hub
from optimizer.sources.hub_name import HubName
from tests.sources.hub_server import COMMIT, FakeHub

NAME = HubName("model", "o/r", "m-F16.gguf")
CONTENT = random.Random(0).randbytes(300_000)


def get(name: HubName = NAME, reporter: SilentReporter | None = None) -> Path:
    return fetch(Hub.from_environment(), [name], reporter or SilentReporter())[0]


def blobs(cache: Path) -> list[Path]:
    return sorted(cache.glob("hub/*/blobs/*"))


class Bytes(SilentReporter):
    """Keeps how far each phase came."""

    def __init__(self) -> None:
        super().__init__()
        self.phases: list[tuple[str, int, int]] = []

    def phase(self, title: str, total: int) -> None:
        self.phases.append((title, total, 0))

    def advance(self, done: int, detail: str = "") -> None:
        title, total, before = self.phases[-1]
        assert done >= before
        self.phases[-1] = (title, total, done)


def test_a_file_is_fetched_once_with_progress_and_lies_in_the_hub_s_own_cache(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT})
    shown = Bytes()
    path = get(reporter=shown)
    assert path.read_bytes() == CONTENT
    assert path == tmp_path / "hf/hub/models--o--r/snapshots" / COMMIT / "m-F16.gguf"
    assert path.resolve().name == hashlib.sha256(CONTENT).hexdigest()
    assert shown.phases[0] == ("downloading m-F16.gguf", len(CONTENT), len(CONTENT))
    assert shown.phases[1] == ("checking m-F16.gguf", len(CONTENT), len(CONTENT))
    assert get() == path
    assert len(hub.ranges()) == 1


def test_a_cut_connection_is_continued_where_it_broke(hub: FakeHub) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT})
    hub.cut_after = [100_000, 50_000]
    shown = Bytes()
    assert get(reporter=shown).read_bytes() == CONTENT
    assert hub.ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert shown.phases[0][2] == len(CONTENT)


def test_a_download_of_a_killed_process_is_continued_by_the_next(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT})
    folder = tmp_path / "hf/hub/models--o--r/blobs"
    folder.mkdir(parents=True)
    (folder / (hashlib.sha256(CONTENT).hexdigest() + PARTIAL)).write_bytes(CONTENT[:123_456])
    assert get().read_bytes() == CONTENT
    assert hub.ranges() == ["bytes=123456-"]
    assert [each.name for each in blobs(tmp_path / "hf")] == [hashlib.sha256(CONTENT).hexdigest()]


def test_a_hub_that_keeps_breaking_off_is_one_error_and_keeps_what_came(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT})
    hub.cut_after = [100_000, *[0] * 100]
    with pytest.raises(DownloadError, match="goes on where it was"):
        get()
    assert [each.stat().st_size for each in blobs(tmp_path / "hf")] == [100_000]
    hub.cut_after = []
    assert get().read_bytes() == CONTENT
    assert hub.ranges()[-1] == "bytes=100000-"


def test_a_partial_file_of_another_content_is_found_out(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT})
    folder = tmp_path / "hf/hub/models--o--r/blobs"
    folder.mkdir(parents=True)
    partial = folder / (hashlib.sha256(CONTENT).hexdigest() + PARTIAL)
    partial.write_bytes(bytes(1000))
    with pytest.raises(StorageError, match="SHA-256"):
        get()
    partial.write_bytes(bytes(len(CONTENT) + 1))
    assert get().read_bytes() == CONTENT


def test_wrong_content_is_refused_and_removed(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT})
    hub.sent["m-F16.gguf"] = CONTENT[:-1] + b"?"
    with pytest.raises(StorageError, match=r"m-F16.gguf came wrong.*SHA-256.*removed"):
        get()
    assert blobs(tmp_path / "hf") == []
    assert not list(tmp_path.glob("hf/hub/*/snapshots/*/*"))
    hub.sent.clear()
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize("claimed", [len(CONTENT) - 7, len(CONTENT) + 7])
def test_a_wrong_size_is_refused_and_removed(hub: FakeHub, tmp_path: Path, claimed: int) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT})
    hub.sizes["m-F16.gguf"] = claimed
    with pytest.raises(StorageError, match=r"300,000 bytes, the hub says (299,993|300,007)"):
        get()
    assert blobs(tmp_path / "hf") == []


def test_too_small_a_disk_is_said_before_anything_is_fetched(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [HubName("model", "o/r", f"m-F16-0000{number}-of-00002.gguf") for number in (1, 2)]
    hub.add("o/r", {str(each.file): CONTENT for each in parts})
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=len(CONTENT) + 1))
    with pytest.raises(StorageError, match=r"0.00 GB are to be fetched.*HF_HOME"):
        fetch(Hub.from_environment(), parts, SilentReporter())
    assert hub.ranges() == []


def test_a_cached_file_is_checked_once_and_again_when_it_was_touched(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT})
    path = get()
    (tmp_path / "hf/assets/layerquant/verified" / f"{path.resolve().name}.json").unlink()
    shown = Bytes()
    get(reporter=shown)
    get(reporter=shown)
    assert [title for title, _, _ in shown.phases] == ["checking m-F16.gguf"]
    path.resolve().write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(StorageError, match="damaged on disk, and removed"):
        get()
    assert not os.path.lexists(path)
    assert get().read_bytes() == CONTENT


def test_what_is_cached_serves_without_a_network(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT, "other.gguf": b"x"})
    path = get()
    asked = len(hub.requests)
    assert get(HubName("model", "o/r", "m-F16.gguf", COMMIT)) == path
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert get() == path
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        get(HubName("model", "o/r", "other.gguf"))
    assert len(hub.requests) == asked
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    reporter = SilentReporter()
    assert get(reporter=reporter) == path
    assert "as it was last fetched" in reporter.lines[0]
    with pytest.raises(DownloadError, match="cannot be reached"):
        get(HubName("model", "o/r", "other.gguf"))


def test_a_token_opens_what_is_closed_to_strangers(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT}, gate="GatedRepo", token="secret")
    with pytest.raises(ConfigError, match=rf"gated: accept its terms at {hub.url}/o/r and set HF_TOKEN"):
        get()
    hub.add("o/r", {"m-F16.gguf": CONTENT}, gate="RepoNotFound", token="secret")
    with pytest.raises(ConfigError, match=r"no such repository.*private"):
        get()
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        (HubName("model", "o/none", "m.gguf"), ConfigError, "hf://o/none: no such repository"),
        (HubName("model", "o/r", "none.gguf"), ConfigError, "hf://o/r has no file none.gguf"),
        (HubName("model", "o/r", "m-F16.gguf", "v9"), ConfigError, "no revision v9"),
    ],
)
def test_a_wrong_name_is_one_clear_error(hub: FakeHub, name: HubName, error: type[Exception], said: str) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT})
    with pytest.raises(error, match=said):
        get(name)


def test_a_hub_in_trouble_is_one_clear_error(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT})
    hub.status = 503
    with pytest.raises(DownloadError, match="HTTP 503; try again later"):
        get()
    hub.status = 403
    with pytest.raises(ConfigError, match="HTTP 403"):
        get()


def test_a_hub_that_does_not_answer_is_one_clear_error(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 0.2)
        with pytest.raises(DownloadError, match="no answer in time"):
            get()


@pytest.mark.parametrize("damaged", [False, True])
def test_xet_files_are_left_to_huggingface_hub_and_checked(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

    def xet_get(*, incomplete_path: Path, expected_size: int, tqdm_class: type, **_: object) -> None:
        settings = {"log_level": 30, "total": expected_size, "tqdm_class": tqdm_class}
        done = SimpleNamespace(total_bytes=expected_size, total_bytes_completed=expected_size,
                               total_transfer_bytes_completed=1000, total_bytes_completion_rate=1.0,
                               total_transfer_bytes_completion_rate=1.0)  # fmt: skip
        with XetDownloadProgressReporter(reconstruction_desc="file", **settings) as progress:
            progress.update_progress(done)
        incomplete_path.write_bytes(CONTENT[:-1] + (b"?" if damaged else CONTENT[-1:]))

    hub.add("o/r", {"m-F16.gguf": CONTENT}, xet=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr("huggingface_hub.file_download.xet_get", xet_get)
    if damaged:
        with pytest.raises(StorageError, match="SHA-256"):
            get()
        return
    shown = Bytes()
    assert get(reporter=shown).read_bytes() == CONTENT
    assert shown.phases[0] == ("downloading m-F16.gguf", len(CONTENT), len(CONTENT))
    assert hub.ranges() == []


def test_xet_can_be_turned_off(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("o/r", {"m-F16.gguf": CONTENT}, xet=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    hub.cut_after = [100_000]
    assert get().read_bytes() == CONTENT
    assert hub.ranges() == [None, "bytes=100000-"]
