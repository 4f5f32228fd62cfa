"""Where files with secrets are, and the error of those that cannot be used.

A path may begin with `${CREDENTIALS_DIRECTORY}`, the folder that systemd makes for the credentials of one service. It
is looked up when the file is read, so that `check-config` works in a shell, where there is no such folder.
"""

import os
from pathlib import Path

_DIRECTORY = "CREDENTIALS_DIRECTORY"
_PLACEHOLDER = f"${{{_DIRECTORY}}}"


class CredentialsError(Exception):
    """A file with tokens or keys cannot be used; the text says which one, why, and what to do."""


def is_within_reach(path: str) -> bool:
    """Return whether `path` names a file: always, but where it begins with a folder that this process was not given."""
    return _PLACEHOLDER not in path or bool(os.environ.get(_DIRECTORY))


def resolve(path: str, setting: str) -> Path:
    """Return `path` with `${CREDENTIALS_DIRECTORY}` replaced; raise CredentialsError if this process was given none."""
    if _PLACEHOLDER not in path:
        return Path(path)
    directory = os.environ.get(_DIRECTORY)
    if not directory:
        raise CredentialsError(
            f"{setting} is {path}, but {_DIRECTORY} is not set: systemd sets it for a unit with LoadCredential="
        )
    return Path(path.replace(_PLACEHOLDER, directory))
