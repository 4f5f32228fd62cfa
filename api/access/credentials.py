"""The secrets of the service, read at the start and again at SIGHUP: its tokens, its certificate and key."""

import structlog

from api.access.secret_files import CredentialsError, is_within_reach, resolve
from api.access.tls import Certificate
from api.access.tokens import Tokens
from api.operation.settings import Settings


def faults(settings: Settings) -> list[str]:
    """Return what is wrong with the files that the settings name.

    Those below `${CREDENTIALS_DIRECTORY}` are left out where there is none: only the service has it.
    """
    found = []
    server = settings.server
    named = (
        ((settings.auth.tokens_file,), lambda: _tokens(settings)),
        ((server.tls_certificate, server.tls_key), lambda: _certificate(settings)),
    )
    for paths, read in named:
        if all(is_within_reach(path) for path in paths):
            try:
                read()
            except CredentialsError as error:
                found.append(str(error))
    return found


def _tokens(settings: Settings) -> Tokens | None:
    path = settings.auth.tokens_file
    return Tokens(resolve(path, "auth.tokens_file")) if path else None


def _certificate(settings: Settings) -> Certificate | None:
    return Certificate(settings.server) if settings.server.tls_certificate else None


class Credentials:
    """The tokens and the certificate that the settings name; None where they name none."""

    def __init__(self, settings: Settings) -> None:
        """Read all files. Raises CredentialsError for the first that cannot be used."""
        self.tokens = _tokens(settings)
        self.certificate = _certificate(settings)

    def reload(self) -> None:
        """Read all files again. What cannot be used is logged, and what was in force stays in force."""
        log = structlog.get_logger()
        for name, part in (("tokens", self.tokens), ("certificate", self.certificate)):
            if part is None:
                continue
            try:
                part.reload()
            except CredentialsError as error:
                log.error("reload_failed", what=name, reason=str(error))  # noqa: TRY400 - the reason says it all
            else:
                log.info("reloaded", what=name)
