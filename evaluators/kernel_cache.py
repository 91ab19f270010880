"""Where compiled kernels are kept, so that compiling costs seconds once and not at every start.

Numba's own choice is beside the source, which an installed package often cannot write, and it fails where there is no
home folder. What is kept is loaded as code, so the folder must be the user's own.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import numba


def use_private_cache() -> Path:
    """Point numba's cache at a folder of this user; called before the first kernel is declared."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return Path(os.environ["NUMBA_CACHE_DIR"])
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(home) / "layerquant" / "kernels"
    if not _is_ours(folder):
        folder = Path(tempfile.mkdtemp(prefix="layerquant-kernels-"))
    numba.config.CACHE_DIR = str(folder)
    return folder


def _is_ours(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError:
        return False
    writable_by_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == os.getuid() and not writable_by_others and os.access(folder, os.W_OK)
