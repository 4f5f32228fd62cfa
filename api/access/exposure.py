"""A service that everybody may use is for one machine: which addresses lie outside it."""

import ipaddress
import socket

from api.operation.settings import AuthSettings, how_to_set


class ExposedError(Exception):
    """The service would answer strangers; the text says on which address, and what to set."""


def check_exposure(listeners: list[socket.socket], auth: AuthSettings) -> None:
    """Raise ExposedError if a socket can be reached from other machines, and neither tokens nor a setting allow that.

    What counts is the address that a socket really has, whoever bound it and whatever name the settings gave.
    """
    if auth.tokens_file or auth.allow_anonymous:
        return
    for listener in listeners:
        if not is_local(listener):
            address = listener.getsockname()[0] if listener.family in _INTERNET else listener.getsockname()
            raise ExposedError(
                f"{address} can be reached from other machines, and everybody there could read and write: set "
                f"{how_to_set('auth.tokens_file')} to a file that hft-mmap token makes, or "
                f"{how_to_set('auth.allow_anonymous')} to true, or listen on 127.0.0.1 by {how_to_set('server.host')}"
            )


_INTERNET = (socket.AF_INET, socket.AF_INET6)


def is_local(listener: socket.socket) -> bool:
    """Return whether only this machine can connect to a listening socket: loopback, or a Unix socket."""
    if listener.family not in _INTERNET:
        return listener.family is socket.AF_UNIX
    address = ipaddress.ip_address(listener.getsockname()[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
