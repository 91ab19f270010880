"""The one place where a MODEL that a user names becomes a file of this machine."""

from pathlib import Path

from rich.console import Console

from optimizer.gguf.model_file import ModelFile
from optimizer.named_files import find_file
from optimizer.progress import TerminalReporter
from optimizer.sources.checkpoint import refuse_checkpoint
from optimizer.sources.hub_name import HubName, is_hub_name


def open_model(name: str | Path, *, beside: Path | None = None, planning: bool = False) -> ModelFile:
    """A GGUF by its path or by its name on the hub; see `find_model` and `ModelFile.open` for the errors.

    Args:
        planning: the header is enough; of a model on the hub nothing else is fetched.
    """
    if planning and is_hub_name(str(name)):
        return ModelFile.open_splits(_fetched(HubName.parse(str(name)), planning=True), planning=True)
    return ModelFile.open(find_model(name, beside=beside), planning=planning)


def find_model(name: str | Path, *, beside: Path | None = None) -> Path:
    """A local file as it is; one of the hub from its cache, with all parts of a split model, fetched where missing.

    Raises ConfigError, GgufError (a checkpoint that must be converted first), DownloadError or StorageError.
    """
    if is_hub_name(str(name)):
        return _fetched(HubName.parse(str(name)))[0]
    path = find_file(str(name), beside=beside)
    refuse_checkpoint(path)
    return path


def _fetched(name: HubName, *, planning: bool = False) -> list[Path]:
    """The model's file, or all parts of a split one; for planning their headers, unless all of them are cached."""
    from optimizer.errors import DownloadError
    from optimizer.sources.download import fetch  # huggingface_hub: not for commands on local files
    from optimizer.sources.headers import fetch_headers
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
        parts = all_parts(name)
        headers_do = planning and not all(hub.cached(each) for each in parts)
        return (fetch_headers if headers_do else fetch)(hub, parts, reporter)
    finally:
        reporter.close()
