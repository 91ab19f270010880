"""Certificates of a cluster: every machine shows one, and accepts those that the same authority signed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.errors import ConfigError

if TYPE_CHECKING:
    from distributed.security import Security


@dataclass(frozen=True)
class Certificates:
    """PEM files: the authority's certificate, this machine's, and its key."""

    ca: str
    cert: str
    key: str

    @classmethod
    def of(cls, address: str, ca: str | None, cert: str | None, key: str | None) -> "Certificates | None":
        """None for a plain address. Raises ConfigError where address and files do not fit together."""
        given = {"--tls-ca": ca, "--tls-cert": cert, "--tls-key": key}
        missing = [name for name, value in given.items() if value is None]
        if address.startswith("tls://"):
            if missing:
                raise ConfigError(f"{address} needs certificates: {', '.join(missing)} is missing (PEM files)")
            for name, value in given.items():
                if not Path(str(value)).is_file():
                    raise ConfigError(f"{name} {value}: no such file; give the path of a PEM file")
            return cls(str(ca), str(cert), str(key))
        if not address.startswith("tcp://"):
            raise ConfigError(
                f"{address!r} is no scheduler's address; it has the form tcp://HOST:8786 or tls://HOST:8786"
            )
        if len(missing) < len(given):
            raise ConfigError(
                f"certificates are given, and {address} is not encrypted; write tls:// in place of tcp://"
            )
        return None

    def security(self) -> "Security":
        from distributed.security import Security

        mine = {"cert": self.cert, "key": self.key}
        roles = {
            f"tls_{role}_{name}": path for role in ("client", "worker", "scheduler") for name, path in mine.items()
        }
        return Security(tls_ca_file=self.ca, require_encryption=True, **roles)
