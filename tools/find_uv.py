"""Find uv, or fetch the one that uv.lock pins; prints its path.

A uv on PATH that `required-version` of pyproject.toml accepts is used as it is. Otherwise the wheel named in uv.lock
(dependency group `setup`) is downloaded, compared with the lock's SHA-256 and its one program unpacked into `.uv/`:
this needs neither pip nor venv, which a bare Debian leaves out. Standard library only.
"""

import hashlib
import io
import platform
import re
import shutil
import ssl
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any


class UvError(Exception):
    """uv cannot be had; the message says why and what to do."""


def version_numbers(text: str) -> tuple[int, ...]:
    """`uv 0.13.8 (x86_64-…)` or `>=0.9` -> (0, 13, 8) or (0, 9)."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(number) for number in found.group().split(".")) if found else ()


def usable(uv: Path, oldest: tuple[int, ...]) -> bool:
    """Whether this program runs and is new enough (a version manager's stand-in may be on PATH and not run)."""
    try:
        answer = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and version_numbers(answer.stdout) >= oldest


def wheel_pattern(system: str, machine: str) -> str:
    """Regular expression for the wheel file names that run on `platform.system()` and `platform.machine()`."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine.lower())
    if system == "Linux":
        return rf"manylinux[\w.]*_{machine}\.whl$"
    if system == "Darwin":
        return rf"macosx_\w+_{'arm64' if machine == 'aarch64' else machine}\.whl$"
    raise UvError(f"No set-up for {system}; layerquant runs on Linux and macOS (on Windows: in WSL).")


def locked_wheel(lock: dict[str, Any], system: str, machine: str) -> tuple[str, str, str]:
    """(version, URL, SHA-256 in hex) of the uv wheel that the lock pins for this machine."""
    pattern = wheel_pattern(system, machine)
    for package in lock["package"]:
        if package["name"] != "uv":
            continue
        for wheel in package["wheels"]:
            if re.search(pattern, wheel["url"]):
                return package["version"], wheel["url"], wheel["hash"].removeprefix("sha256:")
    raise UvError(f"uv.lock has no uv for {system} on {machine}. Install uv by hand, put it on PATH and try again.")


def unpack_program(wheel: bytes, digest: str, target: Path) -> None:
    """Check the wheel against its digest and write its `uv` program to `target`, whole or not at all."""
    if hashlib.sha256(wheel).hexdigest() != digest:
        raise UvError(
            "The downloaded uv is not the one in uv.lock (SHA-256 differs). Try again; nothing was installed."
        )
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
        program = archive.read(member)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(".part")
    beside.write_bytes(program)
    beside.chmod(0o755)
    beside.replace(target)


def download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bytes(answer.read())
    except (OSError, urllib.error.URLError) as error:
        if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
            advice = "This system lacks root certificates: apt install ca-certificates (or set SSL_CERT_FILE)."
        else:
            advice = "Check the network and proxy (HTTPS_PROXY), or put uv on PATH, and try again."
        raise UvError(f"uv could not be fetched from {url}: {error}.\n{advice}") from error


def find_uv(root: Path) -> Path:
    """The path of a uv that can make the environment of the project at `root`; raises UvError."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    oldest = version_numbers(settings["tool"]["uv"]["required-version"])
    on_path = shutil.which("uv")
    if on_path and usable(Path(on_path), oldest):
        return Path(on_path)
    lock = tomllib.loads((root / "uv.lock").read_text(encoding="utf-8"))
    version, url, digest = locked_wheel(lock, platform.system(), platform.machine())
    private = root / ".uv" / version / "uv"
    if not usable(private, oldest):
        unpack_program(download(url), digest, private)
    return private


if __name__ == "__main__":
    try:
        print(find_uv(Path(__file__).resolve().parents[1]))
    except UvError as error:
        sys.exit(str(error))
