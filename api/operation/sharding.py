"""The settings of a replica of a shard, and which slots and addresses they may name."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.operation import checks
from api.operation.checks import setting
from hft_mmap import Durability
from hft_mmap.slots import MOST_SLOTS, parse_slots

if TYPE_CHECKING:
    from api.operation.settings import ServerSettings, StoreSettings

BLOCK_OVERHEAD_BYTES = 1024
"""What a record of the log may take beside the numbers of one batch."""


def _slots(value: object) -> str:
    """Check a list of slots and ranges of slots, such as 0-511, 600."""
    parse_slots(checks.text(value))
    return str(value)


def _addresses(value: object) -> str:
    """Check addresses, such as nats://10.0.0.1:4222, and return them with commas between them."""
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise ValueError(f"must be a list of addresses, or a text with commas between them, not {value!r}")
    found = [one.strip() for one in given if one.strip()]
    for one in found:
        if not one.isprintable() or " " in one:
            raise ValueError(f"must have addresses such as nats://10.0.0.1:4222, not {one!r}")
    return ", ".join(found)


def _log_kind(value: object) -> str:
    """Check the kind of a log."""
    if value not in {"", "nats", "kafka"}:
        raise ValueError(f"must be nats or kafka, or empty for a service on one machine, not {value!r}")
    return str(value)


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Which shard this is a replica of, and the log that keeps it; with no log it is a service on one machine."""

    log: str = setting("", _log_kind, kind="str")
    servers: str = setting("", _addresses, kind="str")
    credentials_file: str = setting("", checks.text_or_empty, kind="str")
    tls_ca: str = setting("", checks.text_or_empty, kind="str")
    shard: int = setting(0, checks.whole(0, 1023))
    replica: str = setting("", checks.instance, kind="str")  # its name; empty: the host's
    slots: str = setting(f"0-{MOST_SLOTS - 1}", _slots, kind="str")  # in which it may make symbols
    max_block_bytes: int = setting(900_000, checks.size(1024, 2**26), kind="str")
    append_timeout_s: int = setting(10, checks.whole(1, 3600))
    queue_bytes: int = setting(64 * 2**20, checks.size(1024, 2**40), kind="str")  # of batches that wait for the log
    position_s: int = setting(5, checks.whole(1, 3600))  # how often it is saved how far the log was read
    monitor_urls: str = setting("", _addresses, kind="str")  # where each server of the log tells its settings
    require_fsync: bool = setting(default=True, check=checks.yes_or_no, kind="bool")

    def faults(self, server: "ServerSettings", store: "StoreSettings") -> list[str]:
        """Return what of all settings can't be, each with what to do."""
        if not self.log:
            return []
        found = []
        if not self.servers:
            found.append("cluster.servers is empty: list the addresses of the servers of the log")
        if store.durability != Durability.PROCESS:
            found.append(f"store.durability must be process with cluster.log, not {store.durability}: the log syncs")
        if not store.create_on_append:
            found.append("store.create_on_append must be true with cluster.log: a batch makes its symbol")
        if server.instance:
            found.append(
                f"server.instance must be empty with cluster.log, not {server.instance}: a replica is one process"
            )
        needed = 8 * server.max_batch_values + BLOCK_OVERHEAD_BYTES
        if needed > self.max_block_bytes:
            found.append(
                f"cluster.max_block_bytes ({self.max_block_bytes}) must be at least {needed}, so that a batch of "
                f"server.max_batch_values ({server.max_batch_values}) fits; raise the one or lower the other"
            )
        return found
