"""TLS by a certificate and a key, which may be renewed while the service runs."""

import ssl

from api.access.secret_files import CredentialsError, resolve
from api.operation.settings import ServerSettings


class Certificate:
    """The certificate and key of the settings, and the context that serves them. TLS 1.2 and newer."""

    def __init__(self, settings: ServerSettings) -> None:
        """Load both files. Raises CredentialsError if they cannot be used, together or at all."""
        self._certificate = resolve(settings.tls_certificate, "server.tls_certificate")
        self._key = resolve(settings.tls_key, "server.tls_key")
        self.context = self._loaded()

    def reload(self) -> None:
        """Serve what the files hold now to connections made from now on. Raises CredentialsError, all as before."""
        # A first context for the proof: one that fails half-way may be left with a certificate and no key.
        self._loaded()
        self._load_into(self.context)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load_into(context)
        return context

    def _load_into(self, context: ssl.SSLContext) -> None:
        for name, path in (("certificate", self._certificate), ("key", self._key)):
            try:
                with path.open("rb"):
                    pass
            except OSError as error:  # which says no file's name when OpenSSL meets it
                raise CredentialsError(f"TLS {name} {path} cannot be read: {error.strerror}") from error
        try:
            # The empty password keeps OpenSSL from asking the terminal for that of an encrypted key.
            context.load_cert_chain(self._certificate, self._key, password="")
        except ssl.SSLError as error:
            raise CredentialsError(
                f"TLS certificate {self._certificate} and key {self._key} cannot be used: {_reason(error)}"
            ) from error
        except OSError as error:  # gone since it was looked at, or it can be opened and not read
            raise CredentialsError(
                f"TLS certificate {self._certificate} or key {self._key} cannot be read: {error.strerror}"
            ) from error


def _reason(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not that of the certificate"
    return f"both must be PEM, the key without a password ({error.reason or error})"
