"""Where a service is, and who asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Address:
    """What both clients need of a URL and a token."""

    urls: tuple[str, ...]
    unix_socket: str | None
    headers: dict[str, str]

    @classmethod
    def of(cls, url: str | Sequence[str], token: str | None) -> Self:
        """Return what `url` stands for: "http://…", "https://…", or "unix:/path"; or several of http. ValueError."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if not isinstance(url, str):
            found = tuple(dict.fromkeys(cls.of(one, None).urls[0] for one in url))
            if not found or any(one.startswith("unix:") for one in url):
                message = f'several URLs must begin with "http://" or "https://", and be one at least, not {url!r}'
                raise ValueError(message)
            return cls(found, None, headers)
        if url.startswith("unix:"):
            path = url.removeprefix("unix:")
            if not path:
                message = "a Unix socket is named by its path: unix:/run/hft-mmap/http.sock"
                raise ValueError(message)
            return cls(("http://localhost",), path, headers)
        if not url.startswith(("http://", "https://")):
            message = f'url must begin with "http://", "https://" or "unix:", not {url!r}'
            raise ValueError(message)
        return cls((url.rstrip("/"),), None, headers)
