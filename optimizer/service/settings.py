"""What a service is started with; a service is one folder of studies."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from optimizer.errors import ConfigError
from optimizer.service.notifier import NotifySettings
from optimizer.service.processes import LAYERQUANT
from optimizer.settings import ExecutionSettings
from optimizer.workplace import DEFAULT_STUDIES, Workplace

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8642
MAX_BODY_BYTES = 1 << 20
MIN_TOKEN = 16
"""Characters: fewer can be guessed."""


@dataclass(frozen=True)
class ServiceSettings:
    """`models`: the only folders whose files may be named. `running`: heavy studies at a time on this machine."""

    workplace: Workplace = field(default_factory=lambda: Workplace(DEFAULT_STUDIES))
    models: tuple[Path, ...] = ()
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)
    running: int = 1
    names: tuple[str, ...] = ()
    """Further host names that requests may be addressed to, such as that of a proxy before the service."""
    max_body_bytes: int = MAX_BODY_BYTES
    notify: NotifySettings = field(default_factory=NotifySettings)
    execution: ExecutionSettings = field(default_factory=ExecutionSettings)
    """Of the searches that the service starts: the cluster's address is the operator's to name, never a request's."""
    optuna_dashboard: str | None = None
    """Addresses of servers that show the same studies; the pages link there while they answer."""
    mlflow: str | None = None
    program: tuple[str, ...] = LAYERQUANT
    """What runs a command; another one in tests."""

    def __post_init__(self) -> None:
        """Raises ConfigError where anybody on the network could start processes."""
        if self.token is not None and len(self.token) < MIN_TOKEN:
            raise ConfigError(f"the token has {len(self.token)} characters; give one of {MIN_TOKEN} or more")
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} can be reached from other machines, and the service starts processes; "
                "give a token: --token-file FILE, or the environment's LAYERQUANT_TOKEN"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path) -> str:
    """The first line of a file. Raises ConfigError for one that cannot be read, or that others may read."""
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--token-file {path} cannot be read ({error}); write a line of random letters to it"
        ) from None
    if mode & 0o077:
        raise ConfigError(f"--token-file {path} can be read by others; run: chmod 600 {path}")
    return lines[0].strip()
