"""What huggingface_hub raises, in the project's own errors: one message each, with the way out."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from optimizer.errors import ConfigError, DownloadError, StorageError
from optimizer.sources.hub_name import HubName

TOKEN = "set HF_TOKEN to a token that may read it (or run `hf auth login` once)"


@contextmanager
def explained(name: HubName, endpoint: str) -> Iterator[None]:
    """ConfigError where the name is at fault, StorageError where the disk is, DownloadError where the road is."""
    where = f"{name} at {endpoint}"
    try:
        yield
    except GatedRepoError:
        raise ConfigError(
            f"{name} is gated: accept its terms at {endpoint}/{name.page} and {TOKEN} from the account that did"
        ) from None
    except DisabledRepoError:
        raise ConfigError(f"{name}: the hub has disabled this repository; take another") from None
    except RevisionNotFoundError:
        raise ConfigError(
            f"{name.base} has no revision {name.revision}; name a branch, a tag or a whole commit behind @"
        ) from None
    except RepositoryNotFoundError:
        raise ConfigError(
            f"{name.base}: no such repository at {endpoint}, or a private one; check the name, or {TOKEN}"
        ) from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError):
        raise DownloadError(
            f"{name} is not in the cache, and the hub may not be asked (HF_HUB_OFFLINE); fetch it once with a network"
        ) from None
    except EntryNotFoundError:
        raise ConfigError(f"{name.base} has no file {name.file} at revision {name.revision}; check its name") from None
    except HfHubHTTPError as error:
        raise _by_status(error, where) from None
    except httpx2.TimeoutException:
        raise DownloadError(
            f"{where}: no answer in time; the same command goes on where it was (HF_HUB_ETAG_TIMEOUT and "
            "HF_HUB_DOWNLOAD_TIMEOUT, in seconds, make it wait longer)"
        ) from None
    except httpx2.HTTPError as error:
        raise DownloadError(
            f"{where} cannot be reached ({error}); check the network, the proxy and HF_ENDPOINT; the same command "
            "goes on where it was"
        ) from None
    except HFValidationError as error:
        raise ConfigError(f"{name}: no name that the hub allows: {str(error).splitlines()[0]}") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageError(f"{name}: the disk is full; free some space, or set HF_HOME to a larger disk") from None
        raise DownloadError(f"{where}: {str(error).splitlines()[0]}; the same command tries again") from None
    except ValueError as error:
        raise DownloadError(f"{where}: {str(error).splitlines()[0]}") from None


def _by_status(error: HfHubHTTPError, where: str) -> ConfigError | DownloadError:
    status = error.response.status_code
    if status in (401, 403):
        said = f" ({error.server_message})" if error.server_message else ""
        return ConfigError(f"{where}: access refused, HTTP {status}{said}; {TOKEN}")
    if status == 404:
        return ConfigError(f"{where}: there is no such file; check the name")
    return DownloadError(f"{where}: the hub answered HTTP {status}; try again later with the same command")
