"""`kaggle:owner/name`: a dataset of Kaggle, fetched by its own client into its own cache, where it is read like a folder.

A version never changes: `kaggle:owner/name/versions/2` names one, without it the newest is taken.
"""

import importlib.util
import re
from pathlib import Path

from driftloop.errors import InputError

KAGGLE = "kaggle:"
_HANDLE = re.compile(r"[\w-]+/[\w.-]+(/versions/[1-9]\d*)?", re.ASCII)


def is_kaggle(source: str) -> bool:
    return source.startswith(KAGGLE)


def check_kaggle(source: str) -> str:
    """The source as it is, once its name is one, and the client and keys for it are here; nothing is fetched.

    Raises:
        InputError: not a dataset's name, the client is not installed, or no keys.
    """
    if not _HANDLE.fullmatch(source.removeprefix(KAGGLE)):
        raise InputError(f"{source}: not a dataset of Kaggle; give kaggle:owner/name, as in the address of its page")
    if importlib.util.find_spec("kagglehub") is None:
        raise InputError(
            f"{source}: the package kagglehub is not installed here; pip install 'driftloop[kaggle]', or download the dataset and give the "
            "folder or the zip"
        )
    # Imported only where it is asked for: it is an extra.
    from kagglehub.config import get_kaggle_credentials

    try:
        keys = get_kaggle_credentials()
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: {error}; set KAGGLE_API_TOKEN") from None
    if keys is None:
        raise InputError(
            f"{source}: no keys for Kaggle; set KAGGLE_API_TOKEN (or KAGGLE_USERNAME and KAGGLE_KEY), which kaggle.com/settings gives, or "
            "download the dataset and give the folder or the zip"
        )
    return source


def fetch_kaggle(source: str) -> Path:
    """The folder that holds the dataset, downloaded unless Kaggle's cache ($KAGGLEHUB_CACHE) has that version.

    Raises:
        InputError: as `check_kaggle`, no such dataset, keys that are refused, no way to Kaggle, or no room.
    """
    import kagglehub
    from requests import RequestException

    try:
        return Path(kagglehub.dataset_download(check_kaggle(source).removeprefix(KAGGLE)))
    except RequestException as error:
        raise InputError(f"{source}: {_reason(getattr(error.response, 'status_code', 0), error)}") from None
    except OSError as error:
        raise InputError(f"{source}: could not be stored ({error}); set KAGGLEHUB_CACHE to a folder with room") from None
    except Exception as error:  # The client has errors of its own for damaged downloads, and passes on those of its archives' readers.
        raise InputError(f"{source}: the download failed ({_line(error)}); start again") from None


def _reason(status: int, error: Exception) -> str:
    if status == 404:
        return "Kaggle has no such dataset, or it is private to another; look at its page's address"
    if status in (401, 403):
        return "Kaggle refuses these keys for it; renew KAGGLE_API_TOKEN, and accept the dataset's terms on its page"
    if status:
        return f"Kaggle answers with status {status}; try later, or download it in a browser and give the zip"
    return f"Kaggle cannot be reached ({_line(error)}); download it elsewhere and give the folder or the zip"


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
