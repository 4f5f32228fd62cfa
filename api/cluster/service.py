"""A service that is a replica: what the server starts and stops, how it appends, and what answers say of the log."""

import asyncio
import fcntl
import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl, unquote
from urllib.request import urlopen

import numpy as np
import structlog
from numpy.typing import NDArray

from api.access.guard import check_symbol
from api.access.secret_files import CredentialsError, is_within_reach, resolve
from api.access.tokens import READ
from api.body.patience import Appender, Stored
from api.cluster.deciding import Rules
from api.cluster.following import Patience
from api.cluster.log import Log, LogUnfit, ManagedLog
from api.cluster.points import Points
from api.cluster.position import load
from api.cluster.replica import Replica, unavailable
from api.http.exchange import REFUSED, Message, Receive, Scope, Send
from api.http.problems import Refusal, problem, send_problem
from api.operation.part import Application, PartError
from api.operation.settings import Settings
from api.operation.sharding import ClusterSettings
from hft_mmap import Limits, Store, StoreUnusable, Ticks
from hft_mmap.extras import how_to_install
from hft_mmap.files.disk import make_directory
from hft_mmap.files.names import OWNER_NAME
from hft_mmap.slots import parse_slots

MIN_SEQUENCE_WAIT_S = 2.0
_PACKAGES = {"nats": ("nats", "nats-py"), "kafka": ("confluent_kafka", "confluent-kafka")}
"""What a log needs: the module, and the package that has it."""
_LONGEST_NUMBER = 19
_SYMBOLS = "/symbols/"
_MONITOR_WAIT_S = 5.0


def log_of(settings: ClusterSettings) -> ManagedLog:
    """Return the log that the settings name, which is not opened yet. CredentialsError, ConnectionError."""
    # NOTE: imported here, since the package of either may be missing, which `faults` tells.
    if settings.log == "kafka":
        from api.cluster.kafka import KafkaLog, client_of  # noqa: PLC0415

        return KafkaLog(
            client_of(settings.servers.split(", "), **_files(settings)), settings.shard, settings.max_block_bytes,
            append_timeout_s=settings.append_timeout_s, require_fsync=settings.require_fsync,
        )  # fmt: skip
    from api.cluster.nats import NatsLog  # noqa: PLC0415

    return NatsLog(settings.servers.split(", "), settings.shard, settings.max_block_bytes, **_files(settings))


def _files(settings: ClusterSettings) -> dict[str, str]:
    """Return where the files are that the connection to the log needs. CredentialsError."""
    return {key: str(resolve(path, f"cluster.{key}")) if path else "" for key, path in _named(settings)}


def _named(settings: ClusterSettings) -> list[tuple[str, str]]:
    return [("credentials_file", settings.credentials_file), ("tls_ca", settings.tls_ca)]


def store_limits(settings: Settings) -> Limits:
    """Return the limits of a replica's store: what it keeps says the log, how many symbols there may be the writer."""
    position = load(Path(settings.store.data_dir))
    kept = Limits() if position is None else position.place.limits()
    # What the log has is stored, whatever this replica would take itself.
    return replace(kept, max_symbols=2**31, starting_capacity=0, late=kept.late, negative_prices=True)


def own(directory: Path) -> int:
    """Lock the data directory for a replica; StoreUnusable if another has it. Returns the descriptor of the lock."""
    make_directory(directory)
    fd = os.open(directory / OWNER_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StoreUnusable(f"data directory {directory} belongs to another replica that is running") from None
    return fd


def fsync_faults(settings: ClusterSettings) -> list[str]:
    """Return what servers of NATS do not sync each record, or could not be asked; waits for them."""
    found = []
    for url in filter(None, settings.monitor_urls.split(", ")):
        try:
            with urlopen(f"{url.rstrip('/')}/varz", timeout=_MONITOR_WAIT_S) as answer:  # noqa: S310 - of the settings
                told = json.load(answer)
        except (OSError, ValueError) as error:
            structlog.get_logger().warning("log_server_not_asked", url=url, reason=str(error))
            continue
        if not told.get("jetstream", {}).get("config", {}).get("sync_always"):
            found.append(
                f"{url}: jetstream has no sync_interval: always, so a power cut may take what was acknowledged"
            )
    return found


def faults(settings: ClusterSettings, *, is_made: bool = True) -> list[str]:
    """Return why a replica with these settings can't start here. Asks the servers of the log; is_made: of it, too."""
    module, package = _PACKAGES[settings.log]
    if find_spec(module) is None:
        missing = f"the package {package} is missing: {how_to_install(package, settings.log)}"
        return [f"cluster.log is {settings.log}, and {missing}"]
    found = [
        f"cluster.{key}: {path} can't be read by this user"
        for key, path in _named(settings)
        if path and is_within_reach(path) and not os.access(resolve(path, f"cluster.{key}"), os.R_OK)
    ]
    if found:
        return found
    try:
        if settings.log == "kafka":
            return asyncio.run(_topic_faults(settings)) if is_made else []
        return fsync_faults(settings) if settings.require_fsync else []
    except CredentialsError:
        return []  # of files that this shell has not; `check` tells


async def _topic_faults(settings: ClusterSettings) -> list[str]:
    """Return why the topic of the shard is no log of ours; one that is not there yet, or does not answer, is none."""
    try:
        log = log_of(settings)
        try:
            await log.open()
        finally:
            await log.close()
    except LogUnfit as error:
        return [str(error)]
    except ConnectionError as error:
        structlog.get_logger().warning("log_server_not_asked", reason=str(error))
    return []


def check(settings: ClusterSettings, *, is_made: bool = True) -> None:
    """Raise PartError where a replica can't start; is_made: the log is looked at as well."""
    if found := faults(settings, is_made=is_made):
        raise PartError("; ".join(found))
    try:
        _files(settings)
    except CredentialsError as error:
        raise PartError(str(error)) from None


class Replicated:
    """What makes a replica of a service."""

    def __init__(self, store: Store, settings: Settings, log: Log | None = None) -> None:
        """Read the position. StoreUnusable."""
        cluster = settings.cluster
        rules = Rules(
            cluster.max_block_bytes, settings.store.max_symbols,
            (settings.store.max_data_retention, settings.store.cleanup_keep_count), settings.store.limits().late,
            parse_slots(cluster.slots), settings.store.negative_prices,
        )  # fmt: skip
        patience = Patience(cluster.append_timeout_s, cluster.queue_bytes, cluster.position_s)
        self.settings = cluster
        self.name = cluster.replica or socket.gethostname()
        self.replica = Replica(
            Points(store), log_of(cluster) if log is None else log, Path(settings.store.data_dir), rules, patience
        )

    async def start(self) -> None:
        """Begin to follow the log."""
        self.replica.start()

    async def close(self) -> None:
        """End, once the requests in flight are answered."""
        await self.replica.close()

    def told(self) -> dict[str, object]:
        """Return what GET /cluster tells."""
        replica = self.replica
        most, keep = replica.state.place.retention or (None, None)
        return {
            "shard": self.settings.shard, "replica": self.name, "log": self.settings.log, "slots": self.settings.slots,
            **self._place(), "reason": replica.reason(),
            "max_data_retention": most, "cleanup_keep_count": keep,
            "sealed": sorted(replica.state.place.sealed), "moved": dict(replica.state.place.moved),
        }  # fmt: skip

    def _place(self) -> dict[str, int]:
        """Return how far it has got: what a reader of a refusal of /ready compares as well."""
        return {"applied": self.replica.applied, "last": self.replica.last, "saved": self.replica.saved}

    async def limit(self, max_data_retention: int, cleanup_keep_count: int) -> int:
        """Have every replica of the shard keep so many points a symbol; return the record that says so."""
        return (await self.replica.limit(max_data_retention, cleanup_keep_count)).sequence

    async def move(self, step: str, symbol: str, number: int, point: Ticks | None) -> dict[str, object]:
        """Take a step of a move of a symbol to another shard, in every replica at the same record."""
        if step == "moved" and number == self.settings.shard:
            raise Refusal(HTTPStatus.CONFLICT, f"{symbol} is in shard {number}, which is this one; nothing was changed")
        if point is not None:
            answer = await self.replica.begin(symbol, point, number)
        else:
            answer = await (self.replica.moved(symbol, number) if step == "moved" else self.replica.seal(symbol))
        return {"symbol": symbol, "total": answer.total, "seq": answer.sequence}

    def counts(self) -> dict[str, float]:
        """Return the numbers of /metrics."""
        replica, state = self.replica, self.replica.state
        return {
            "applied": replica.applied, "log_last": replica.last, "saved": replica.saved,
            "lag_records": replica.last - replica.applied, "stopped": replica.stopped is not None,
            "blocks": state.blocks, "dropped": state.dropped, "stale": replica.stale,
            "unknown": replica.unknown,
        }  # fmt: skip

    # -- appending ----------------------------------------------------------------------------------------------------

    def appender(self) -> Appender:
        """Return how batches are appended."""
        return Appender(self.now, lambda: self, "replicated")

    @staticmethod
    def now(_store: Store, _symbol: str, _values: NDArray[np.float64] | Ticks, _offset: int | None) -> int | None:
        """Append nothing at once: the log has to be waited for."""
        return None

    async def append(
        self, _store: Store, symbol: str, values: NDArray[np.float64] | Ticks, offset: int | None,
        note: Callable[[int], object] = int,
    ) -> int:  # fmt: skip
        """Append a batch to the log, and apply it."""
        batch = values if isinstance(values, Ticks) else Ticks(values)
        answer = await self.replica.write(symbol, batch, offset)
        total = Stored(answer.total)
        total.late, total.latest_ns, total.sequence = answer.late, answer.latest_ns, answer.sequence
        note(total)
        return total

    # -- answers ------------------------------------------------------------------------------------------------------

    def around(self, app: Application, reads: Callable[[Scope], bool]) -> Application:
        """Return `app`, with what its answers say of the log, and with what they wait for.

        app: the guard stands before it. reads: says whether a request is for a route that answers with points.
        """

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            try:
                await self._let_through(scope, reads)
            except Refusal as refusal:
                scope[REFUSED] = refusal.status.value
                more = {"reasons": [], **self._place()} if _is_ready(scope) else {}
                body = problem(refusal.status, refusal.detail, **more)
                await send_problem(scope, self._telling(send), refusal.status, body, refusal.headers)
                return
            await app(scope, receive, self._telling(send))

        return answer

    def _telling(self, send: Send) -> Send:
        """Return a `send` whose answers say how far the log was read."""

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                applied = (b"x-applied-seq", b"%d" % self.replica.applied)
                message = {**message, "headers": [*message["headers"], applied]}
            await send(message)

        return tell

    async def _let_through(self, scope: Scope, reads: Callable[[Scope], bool]) -> None:
        """Raise Refusal for what a replica can't answer (403, 405, 421, 503), once a read has waited for its record."""
        method, path = scope["method"], scope["path"]
        if _is_ready(scope) and (reason := self.replica.reason()) is not None:
            raise unavailable(reason)
        if path.startswith(_SYMBOLS) and method in {"PUT", "PATCH", "DELETE"}:
            raise Refusal(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{method} of a symbol would change this replica alone: in a cluster its first batch makes a symbol",
                headers={"Allow": "GET, HEAD, OPTIONS"},
            )
        if (moved := self.replica.state.place.moved) and reads(scope):
            self._refuse_moved(scope, moved)
        for name, value in scope["headers"]:
            if name == b"x-min-seq":
                await self._wait_for(value)

    @staticmethod
    def _refuse_moved(scope: Scope, moved: Mapping[str, int]) -> None:
        """Raise Refusal for a question about a symbol that is in another shard: 421, or 403 to whom it is none of."""
        named = [value for name, value in parse_qsl(scope["query_string"].decode(errors="replace")) if name == "symbol"]
        if scope["path"].startswith(_SYMBOLS):  # raw: "%2F" at the end belongs to the symbol, "/" does not
            named.append(unquote(scope["raw_path"].decode("ascii").removeprefix(_SYMBOLS).removesuffix("/")))
        for symbol in named:
            if symbol in moved:
                check_symbol(scope, READ, symbol)
                detail = f"{symbol} has moved to shard {moved[symbol]}: ask that one"
                raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, detail)

    async def _wait_for(self, given: bytes) -> None:
        """Wait until the record of X-Min-Seq was read. Refusal (400, 503)."""
        if not (given.isdigit() and len(given) <= _LONGEST_NUMBER):
            shown = given[:40].decode("latin-1")
            raise Refusal(
                HTTPStatus.BAD_REQUEST, f"X-Min-Seq must be a whole number, a seq of an answer, not {shown!r}"
            )
        sequence = int(given)
        if not await self.replica.reached(sequence, MIN_SEQUENCE_WAIT_S):
            raise unavailable(f"This replica has read record {self.replica.applied} of the log, and not yet {sequence}")


def _is_ready(scope: Scope) -> bool:
    """Say whether somebody asks whether batches are taken."""
    return bool(scope["path"].rstrip("/") == "/ready")
