"""The secrets of the service, read at the start and again at SIGHUP: its tokens, its certificate and key."""

import structlog

from api.secret_files import CredentialsError, resolve
from api.settings import Settings
from api.tls import Certificate
from api.tokens import Tokens


class Credentials:
    """The tokens and the certificate that the settings name; None where they name none."""

    def __init__(self, settings: Settings) -> None:
        """Read all files. Raises CredentialsError for the first that cannot be used."""
        auth, server = settings.auth, settings.server
        self.tokens = Tokens(resolve(auth.tokens_file, "auth.tokens_file")) if auth.tokens_file else None
        self.certificate = Certificate(server) if server.tls_certificate else None

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
