"""Files that a user names: in the working folder, beside a settings file, or among those that come with the program."""

from pathlib import Path

from optimizer.errors import ConfigError

BUNDLED = Path(__file__).resolve().parent.parent
"""Where `configs/`, `prompts/` and `demo/` lie: the checkout's root, or site-packages when installed."""


def find_file(name: str, *, beside: Path | None = None) -> Path:
    """A file named by a user: from the working folder, beside the settings file, or among the bundled files."""
    wanted = Path(name).expanduser()
    for folder in (Path.cwd(), *([beside.parent] if beside else []), BUNDLED):
        if (folder / wanted).exists():
            return folder / wanted
    raise ConfigError(f"{name}: no such file; give a path from this folder ({Path.cwd()}) or an absolute one")


def find_suite(name: str, *, beside: Path | None = None) -> Path:
    """A prompt suite: a file of the user's, or a shipped one by its name (`core` is `prompts/core.yaml`)."""
    shipped = {path.stem: path for path in sorted((BUNDLED / "prompts").glob("*.yaml"))}
    if name in shipped:
        return shipped[name]
    if "/" not in name and not name.lower().endswith((".yaml", ".yml")):
        raise ConfigError(
            f"there is no prompt suite {name!r}; shipped are {', '.join(shipped)}; or give the path of a YAML file"
        )
    return find_file(name, beside=beside)
