"""How many shards a process may hold open at the same time."""

import resource

_OTHER_FILES = 64  # database, logs, sockets, libraries


def raise_open_file_limit(needed: int | None = None) -> int:
    """Raise the soft limit of open files as far as the system lets this process, at least to `needed` if it can.

    llama.cpp holds every file of a split model open while it loads. Child processes inherit the limit.

    Returns:
        How many files a candidate may have.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = hard if hard != unlimited else max(soft, (needed or 0) + _OTHER_FILES, 65536)
    if soft != unlimited and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (ValueError, OSError):  # macOS refuses more than kern.maxfilesperproc
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, 10240), hard))
                soft = min(wanted, 10240)
            except (ValueError, OSError):
                pass
    if soft == unlimited:
        return 65535  # split.no is a 16-bit number
    return max(1, min(65535, soft - _OTHER_FILES))
