"""Where a service is, and who asks."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Address:
    """What both clients need of a URL and a token."""

    base_url: str
    unix_socket: str | None
    headers: dict[str, str]

    @classmethod
    def of(cls, url: str, token: str | None) -> Self:
        """Return the address that `url` stands for: "http://…", "https://…", or "unix:/path". ValueError."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if url.startswith("unix:"):
            path = url.removeprefix("unix:")
            if not path:
                message = "a Unix socket is named by its path: unix:/run/hft-mmap/http.sock"
                raise ValueError(message)
            return cls("http://localhost", path, headers)
        if not url.startswith(("http://", "https://")):
            message = f'url must begin with "http://", "https://" or "unix:", not {url!r}'
            raise ValueError(message)
        return cls(url, None, headers)
