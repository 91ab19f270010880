"""The one place where a MODEL that a user names becomes a file of this machine."""

from pathlib import Path

from rich.console import Console

from optimizer.config import find_file
from optimizer.gguf.model_file import ModelFile
from optimizer.progress import TerminalReporter
from optimizer.sources.checkpoint import refuse_checkpoint
from optimizer.sources.hub_name import HubName, is_hub_name


def open_model(name: str | Path, *, beside: Path | None = None, planning: bool = False) -> ModelFile:
    """A GGUF by its path or by its name on the hub; see `find_model` and `ModelFile.open` for the errors."""
    return ModelFile.open(find_model(name, beside=beside), planning=planning)


def find_model(name: str | Path, *, beside: Path | None = None) -> Path:
    """A local file as it is; one of the hub from its cache, with all parts of a split model, fetched where missing.

    Raises ConfigError, GgufError (a checkpoint that must be converted first), DownloadError or StorageError.
    """
    if is_hub_name(str(name)):
        return fetch_model(HubName.parse(str(name)))
    path = find_file(str(name), beside=beside)
    refuse_checkpoint(path)
    return path


def fetch_model(name: HubName) -> Path:
    """The model's file, or the first part of a split one."""
    from optimizer.errors import DownloadError
    from optimizer.sources.download import fetch  # huggingface_hub: not for commands on local files
    from optimizer.sources.hub import Hub
    from optimizer.sources.model_choice import all_parts, choose_model

    hub = Hub.from_environment()
    if name.file is None:
        try:
            files = hub.files(name)
        except DownloadError:
            files = hub.cached_files(name)
            if not any(each.endswith(".gguf") for each in files):
                raise
        name = name.with_file(choose_model(name, files))
    reporter = TerminalReporter(Console(stderr=True, highlight=False))
    try:
        return fetch(hub, all_parts(name), reporter)[0]
    finally:
        reporter.close()
