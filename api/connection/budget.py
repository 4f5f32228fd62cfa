"""What each connection takes, for whom, and how much there may be: an account for each thing that is taken.

Whoever takes something for a client says so to the `Budget` of its connection. It is charged to two bounds at once:
that of its holder (the token, once one was read; the address until then), and that of all connections together. A
holder gets a share of each account, so that somebody else finds room. What one connection may take is bounded where it
is taken: a head, a body, a message, an answer has a limit of its own.
"""

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.connection.connections import Connection

CONNECTIONS, REQUESTS, BODIES, ANSWERS = range(4)
"""The accounts: open connections; and bytes of requests that are not run yet (TLS handshakes among them), of bodies and
messages until they are answered, and of answers that are not taken."""
ACCOUNTS = ("connections", "requests", "bodies", "answers")

MOST_LOOKED_AT = 64
"""So many connections of a holder are looked at together for the one that is cheapest to end: it may have thousands."""
_NO_ADDRESS = "local"  # who comes by a Unix socket has none
_IPV6_NETWORK_BYTES = 8


class Account:
    """One thing that is taken: how much of it there is, for all and for one holder, and what is held."""

    __slots__ = ("held", "limit", "name", "refused", "share")

    def __init__(self, name: str, limit: int, share: int) -> None:
        self.name = name
        self.limit = limit
        self.share = share
        self.held = 0
        self.refused = 0


class Holder:
    """A token or an address, its connections, and what they hold of each account."""

    __slots__ = ("budgets", "held", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.budgets: dict[Budget, None] = {}
        self.held = [0] * len(ACCOUNTS)


class Ledger:
    """The accounts of a server, and who holds what. Belongs to the event loop."""

    def __init__(self, limits: Sequence[int], shares: Sequence[int]) -> None:
        """Have an account for each of `ACCOUNTS`, of which all may take its limit, and one holder its share."""
        self.accounts = [Account(*account) for account in zip(ACCOUNTS, limits, shares, strict=True)]
        self._holders: dict[str, Holder] = {}

    def __len__(self) -> int:
        """Return how many holders there are: at most as many as connections."""
        return len(self._holders)

    def holder(self, name: str) -> Holder:
        """Return the holder of that name."""
        holder = self._holders.get(name)
        if holder is None:
            holder = self._holders[name] = Holder(name)
        return holder

    def forget(self, holder: Holder) -> None:
        """Let go of a holder without connections."""
        if not holder.budgets:
            self._holders.pop(holder.name, None)


class Budget:
    """What one connection holds, until it is closed."""

    __slots__ = ("_held", "_holder", "_ledger", "connection", "token")

    def __init__(self, ledger: Ledger, connection: "Connection", address: str | None) -> None:
        self.connection = connection
        self.token: str | None = None
        self._ledger = ledger
        self._held = [0] * len(ACCOUNTS)
        self._holder: Holder | None = None
        self._join(f"from {network_of(address)}")

    def take(self, kind: int, size: int, *, always: bool = False) -> bool:
        """Hold `size` more of an account; return False, and change nothing, where a bound forbids it.

        With `always` it is held beyond the bounds, and others find less room.
        """
        holder = self._holder
        if holder is None:
            return False
        account = self._ledger.accounts[kind]
        held = holder.held[kind] + size
        if not always and (held > account.share or account.held + size > account.limit):
            return False
        holder.held[kind] = held
        account.held += size
        self._held[kind] += size
        return True

    def give(self, kind: int, size: int) -> None:
        """Give `size` of an account back."""
        holder = self._holder
        if holder is not None:
            self._ledger.accounts[kind].held -= size
            holder.held[kind] -= size
            self._held[kind] -= size

    def keep(self, kind: int, size: int) -> bool:
        """Hold `size` of an account in place of what was held of it; return as `take` does."""
        more = size - self._held[kind]
        if more > 0:
            return self.take(kind, more)
        self.give(kind, -more)
        return True

    def lacks(self, kind: int, size: int) -> int:
        """Return how much all connections together would have to give back before this one can hold `size`."""
        account = self._ledger.accounts[kind]
        return account.held + size - self._held[kind] - account.limit

    def held(self, kind: int) -> int:
        """Return what this connection holds of an account."""
        return self._held[kind]

    def refused(self, kind: int) -> None:
        """Count that something was refused, or ended, for want of room in an account."""
        self._ledger.accounts[kind].refused += 1

    def siblings(self) -> "list[Connection]":
        """Return the oldest connections of the same holder, MOST_LOOKED_AT of them."""
        budgets = {} if self._holder is None else self._holder.budgets
        return [budget.connection for budget, _ in zip(budgets, range(MOST_LOOKED_AT), strict=False)]

    def look_further(self) -> None:
        """Let `siblings` return others the next time."""
        budgets = {} if self._holder is None else self._holder.budgets
        for budget in [budget for budget, _ in zip(budgets, range(MOST_LOOKED_AT), strict=False)]:
            del budgets[budget]
            budgets[budget] = None

    def belongs_to(self, token: str) -> None:
        """Charge the holder of a token from now on, also for what is held already."""
        if self._holder is not None and token != self.token:
            self.token = token
            self._leave()
            self._join(f"token {token}")

    @property
    def is_closed(self) -> bool:
        """Whether everything was given back, for good: the connection ends."""
        return self._holder is None

    def moves_to(self, connection: "Connection") -> None:
        """Stand for `connection` from now on, which goes on where another one has ended."""
        self.connection = connection

    def close(self) -> None:
        """Give everything back, for good."""
        if self._holder is not None:
            for account, size in zip(self._ledger.accounts, self._held, strict=True):
                account.held -= size
            self._leave()
            self._holder = None

    def _join(self, name: str) -> None:
        holder = self._holder = self._ledger.holder(name)
        holder.budgets[self] = None
        for kind, size in enumerate(self._held):
            holder.held[kind] += size

    def _leave(self) -> None:
        holder = self._holder
        if holder is not None:
            del holder.budgets[self]
            for kind, size in enumerate(self._held):
                holder.held[kind] -= size
            self._ledger.forget(holder)


def network_of(address: str | None) -> str:
    """Return for whom an address stands: itself; of IPv6 the network of 64 bits, all of which one host has."""
    if address is None:
        return _NO_ADDRESS
    if ":" not in address or address.startswith("::ffff:"):
        return address
    network = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:_IPV6_NETWORK_BYTES]
    return f"{socket.inet_ntop(socket.AF_INET6, network.ljust(16, bytes(1)))}/64"
