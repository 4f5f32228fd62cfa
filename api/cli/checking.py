"""What `check-config` finds beyond the settings themselves: whatever would stop `serve`, found without a change."""

import os
from pathlib import Path
from tempfile import TemporaryFile

from api.access.credentials import faults as credential_faults
from api.access.exposure import ExposedError, check_exposure
from api.connection.listening import bind_tcp
from api.operation.settings import Settings, how_to_set


def faults(settings: Settings) -> list[str]:
    """Return what would stop the service, a line each: secrets, addresses, and where it could not write."""
    found = credential_faults(settings)
    found += _address_faults(settings)
    found += _place_faults("data directory", settings.store.data_dir, "store.data_dir", directory=True)
    found += _place_faults("log file", settings.log.file, "log.file", directory=False)
    if settings.cluster.log:
        from api.cluster.service import faults as cluster_faults  # noqa: PLC0415 - on one machine there is none of it

        found += cluster_faults(settings.cluster)
    if settings.server.unix_socket and not os.access(Path(settings.server.unix_socket).parent, os.W_OK | os.X_OK):
        path = settings.server.unix_socket
        found.append(f"cannot listen on {path}: its folder is missing or can't be written to; set "
                     f"{how_to_set('server.unix_socket')}")  # fmt: skip
    return found


def _address_faults(settings: Settings) -> list[str]:
    """Bind to the host, on a port that is free: its own may be that of the service that runs."""
    try:
        with bind_tcp(settings.server.host, 0) as listener:
            check_exposure([listener], settings.auth)
    except (OSError, ExposedError) as error:
        return [str(error)]
    return []


def _place_faults(what: str, named: str, key: str, *, directory: bool) -> list[str]:
    """Say why something could not be written at a place, which need not be there yet."""
    if not named:
        return []
    path = Path(named)
    place = path
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if place == path and not (path.is_dir() if directory else path.is_file()):
        reason = f"it is no {'directory' if directory else 'regular file'}"
    else:
        reason = _why_not_written(place, directory=directory or place != path)
    return [f"{what} {path} can't be used: {reason}; set {how_to_set(key)}"] if reason else []


def _why_not_written(place: Path, *, directory: bool) -> str:
    """Return why this user can't write to a file, or make something in a directory; nothing if that can be done."""
    try:
        if directory:
            TemporaryFile(dir=place).close()  # it never has a name
        else:
            os.close(os.open(place, os.O_WRONLY))
    except OSError as error:
        return f"{place}: {error.strerror}"
    return ""
