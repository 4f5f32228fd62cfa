"""Start the service, keep it running, and stop it so that nothing is lost.

uvicorn's command line is not used, because the order matters here: first the log file and the port (whoever lacks
either must not touch the data), then the store, then the application; on the way out the same backwards. And an
orderly stop exits with 0, where uvicorn would send itself the signal again. Under systemd it is told of each step.
"""

import asyncio
import ctypes
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import uvicorn

from api.access import browsers
from api.access.credentials import Credentials
from api.access.exposure import ExposedError, check_exposure
from api.access.secret_files import CredentialsError
from api.access.tls import Certificate
from api.app import create_app
from api.connection.connections import MOST_TOLD, ConnectionLimits, Connections
from api.connection.drain import drain
from api.connection.handshakes import TlsServer
from api.connection.listening import Listeners, bound_clients, listening
from api.connection.protocol import HttpProtocol
from api.connection.websocket import StreamProtocol
from api.operation import logs
from api.operation.capacity import files_of_store, shortages
from api.operation.part import Part, PartError
from api.operation.settings import Effective, ServerSettings, Settings, how_to_set
from api.operation.systemd import ServiceManager
from api.streams.registry import Streams
from hft_mmap import HftMmapError, Limits, Store, StoreUnusable

# Files of the process itself: standard streams, log, listeners, event loop, what is read for a moment.
_OWN_FILES = 128
# Clients that are taken out of the queue of a listener at once, before any of them can be counted and refused.
_MOST_AT_ONCE = 2048
# The event loop takes one client a turn from each descriptor that it listens on. Where turns are long, because many
# clients are busy, the queue would fill, and whoever comes then waits for a second, or three, or seven.
# PERF: each descriptor costs a client that comes alone 1 us.
_ACCEPTED_A_TURN = 8
# The client of a stream that sends nothing for so long is asked whether it is there, and has so long to answer.
PING_INTERVAL_S, PING_TIMEOUT_S = 20.0, 20.0
# A client whose machine has gone acknowledges nothing: its connection ends after so long, not after the 17 minutes of
# tcp_retries2. Nor does one that reads nothing for so long keep what waits for it in the kernel; hence not less than
# server.body_timeout_s, which is how long an answer may wait to be taken.
VANISHED_S = 30
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What the store reports about a series that no longer serves as it should; everything else it reports is news.
_WARNINGS = frozenset(
    {
        "lost",
        "read_only",
        "removed",
        "set_aside",
        "disk_full",
        "write_failed",
        "callback_failed",
        "groups_failed",
        "file_system",
    }
)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)

_OF_SETTINGS = CredentialsError, ExposedError, PartError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h; systemd need not restart what will fail again


def serve(effective: Effective) -> int:
    """Run the service until SIGTERM or SIGINT; return the exit code. A failed start is one line on standard error."""
    try:
        writer = logs.configure(effective.settings.log, instance=effective.settings.server.instance)
    except logs.LogFileError as error:
        return _fail(str(error))
    try:
        return _serve(effective.settings, writer)
    finally:
        writer.close()


def _serve(settings: Settings, writer: logs.LogWriter) -> int:
    log = structlog.get_logger()
    try:
        credentials = Credentials(settings)
        with (
            _signals_noted() as noted,
            closing(ServiceManager()) as manager,
            listening(settings.server) as listeners,
        ):
            check_exposure(listeners.sockets, settings.auth)
            open_files = _raise_open_files_limit()
            limits = connection_limits(settings.server, settings.store.limits(), open_files)
            watch = Connections(limits, writer.budget)
            for shortage in shortages(settings.store.limits()):
                structlog.get_logger().warning("system_limit", reason=shortage)
            _keep_freed_memory()
            with _open_store(settings, log.bind(), manager) as store:
                labels = {"instance": settings.server.instance} if settings.server.instance else None
                streams = Streams(settings.server.max_streams, credentials.tokens)
                part = _part_of(store, settings)
                app = create_app(
                    store, settings, credentials.tokens, connections=watch, labels=labels, streams=streams, part=part
                )
                protocol = partial(HttpProtocol, watch=watch)
                config = uvicorn_config(settings.server, app, protocol, credentials.certificate)
                config.backlog = most_at_once(open_files)

                def reload() -> None:
                    credentials.reload()
                    watch.prepared.clear()
                    writer.reopen()

                server = _Server(config, listeners, watch, manager, streams, reload, part)
                server.should_exit = bool(noted)  # the signal came while the store was being opened
                server.run(sockets=listeners.sockets)
                manager.stopping("writing everything to the disk")
    except (HftMmapError, OSError, CredentialsError, ExposedError, PartError) as error:
        if _console_is_standard_error():
            writer.leave_console()  # the line that `_fail` prints says the same there
        log.error("failed", reason=str(error))  # noqa: TRY400 - the reason says it all, a traceback would not
        return _fail(str(error), EXIT_CONFIG if isinstance(error, _OF_SETTINGS) else EXIT_FAILED)
    log.info("stopped")
    return EXIT_OK


def _fail(reason: str, code: int = EXIT_FAILED) -> int:
    print(f"hft-mmap: {reason}", file=sys.stderr)  # noqa: T201 - for the one who typed the command
    return code


def _console_is_standard_error() -> bool:
    """Return whether both streams go to one place: a terminal, the journal."""
    try:
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or none was given
        return False


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Collect the stop signals that arrive before uvicorn handles them, or after that, while the store closes."""
    noted: list[int] = []
    previous = {number: signal.signal(number, lambda number, _: noted.append(number)) for number in STOP_SIGNALS}
    # Once it serves, a hang-up has the credentials read again; before that they were read just now.
    previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield noted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _raise_open_files_limit() -> int:
    """Allow as many open files as the system lets this process have (each chunk and connection is one); return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # refused in some containers, which then keep what they gave
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def most_at_once(open_files: int) -> int:
    """Return how many clients may wait in the queue of a listener: few, where there are few files."""
    return min(_MOST_AT_ONCE, open_files // 8)


def connection_limits(settings: ServerSettings, limits: Limits, open_files: int) -> ConnectionLimits:
    """Return the limits of the settings, with no more connections than the store leaves files for.

    A quarter of all files is for connections in any case: a store that needs more than the rest is told of in the log.
    """
    others = _OWN_FILES + files_of_store(limits) + MOST_TOLD + most_at_once(open_files)
    possible = max(open_files - others, open_files // 4)
    if settings.max_connections > possible:
        structlog.get_logger().warning(
            "fewer_connections",
            wanted=settings.max_connections,
            possible=possible,
            open_files_limit=open_files,
            kept_for_the_store=files_of_store(limits),
        )
    return ConnectionLimits(
        max_connections=min(settings.max_connections, possible),
        header_timeout_s=settings.header_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        keep_alive_s=settings.keep_alive_s,
        max_head_memory_bytes=settings.max_head_memory_bytes,
        max_body_memory_bytes=settings.max_body_memory_bytes,
        max_answer_memory_bytes=settings.max_answer_memory_bytes,
        max_share_percent=settings.max_share_percent,
        max_body_bytes=settings.max_body_bytes,
        max_prepared=settings.max_prepared,
    )


def _keep_freed_memory() -> None:
    """Have the C allocator keep up to 64 MiB of what was freed, for the next large body.

    PERF: glibc hands blocks above 128 KiB back to the system at once, and every large body then touches new pages:
    reading one of 187 kB takes 276 us, and 161 us with this.
    """
    with suppress(AttributeError):  # another C library than glibc has no mallopt, and other habits
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


def _open_store(settings: Settings, log: structlog.typing.FilteringBoundLogger, manager: ServiceManager) -> Store:
    def on_event(name: str, fields: Mapping[str, object]) -> None:
        if name == "opening":
            manager.progress(f"opening series {fields['number']} of {fields['of']}")
            return
        say = log.warning if name in _WARNINGS else log.info
        say(name, **fields)

    store = settings.store
    limits = store.limits()
    if settings.cluster.log:
        from api.cluster import service  # noqa: PLC0415 - a service on one machine has nothing of it

        service.check(settings.cluster)
        service.own(Path(store.data_dir))
        limits = service.store_limits(settings)
    try:
        return Store(
            store.data_dir,
            limits=limits,
            durability=store.durability,
            create_on_append=store.create_on_append,
            sync_interval_ms=store.sync_interval_ms,
            on_event=on_event,
            owner="cluster" if settings.cluster.log else "",
        )
    except StoreUnusable as error:
        if isinstance(error.__cause__, OSError):
            raise StoreUnusable(f"{error}; set {how_to_set('store.data_dir')}") from error
        raise


def _part_of(store: Store, settings: Settings) -> Part | None:
    """Return what makes this a replica of a shard, where the settings say so."""
    if not settings.cluster.log:
        return None
    from api.cluster.service import Replicated  # noqa: PLC0415 - as above

    return Replicated(store, settings)


def uvicorn_config(
    settings: ServerSettings, app: object, http: object = "httptools", certificate: Certificate | None = None
) -> uvicorn.Config:
    """Return the configuration of a server for `app`; `http` names or makes the protocol of a connection."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="uvloop",
        http=http,  # type: ignore[arg-type]  # anything that uvicorn can call like a protocol class
        ws=StreamProtocol,
        ws_max_size=settings.max_body_bytes,
        ws_per_message_deflate=False,  # a bomb for whoever inflates it, and prices do not compress
        ws_ping_interval=PING_INTERVAL_S,
        ws_ping_timeout=PING_TIMEOUT_S,
        lifespan="off",
        interface="asgi3",
        log_config=None,  # api.operation.logs has set up logging
        log_level="warning",  # PERF: set on the loggers themselves, or uvicorn builds a trace line a connection
        access_log=False,  # the application writes one line a request worth a line
        proxy_headers=False,  # nothing here depends on who asks
        server_header=False,
        headers=browsers.HEADERS,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
        reset_contextvars=True,
        ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
    )


def _seconds_since_process_start() -> float:
    """Return the age of this process, interpreter start and imports included (resolution 10 ms)."""
    with open("/proc/self/stat", encoding="ascii") as stat:  # noqa: PTH123 - not a file of anybody
        start_ticks = int(stat.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks / os.sysconf("SC_CLK_TCK")


class _Server(uvicorn.Server):
    """uvicorn's server that tells when it serves, lets clients go, and does not raise a stop signal again."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it has to know of others
        self,
        config: uvicorn.Config,
        listeners: Listeners,
        watch: Connections,
        manager: ServiceManager,
        streams: Streams,
        reload: Callable[[], None],
        part: Part | None = None,
    ) -> None:
        super().__init__(config)
        self._part = part
        self._listeners = listeners
        self._watch = watch
        self._manager = manager
        self._streams = streams
        self._reload_files = reload

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        await self._listen(sockets or [])
        if self._part is not None:
            await self._part.start()
        if not self.should_exit:
            self._announce()
            self._manager.watch(asyncio.get_running_loop())

    async def _listen(self, sockets: list[socket.socket]) -> None:
        """Accept connections, as uvicorn's start does, but with those counted whose TLS has yet to begin."""
        await self.lifespan.startup()
        config, watch = self.config, self._watch
        # The first turn of uvicorn's clock adds the date to them; whoever is answered before has them all the same.
        self.server_state.default_headers = config.encoded_headers
        protocol_class: Any = config.http_protocol_class
        protocol = partial(protocol_class, config, self.server_state, self.lifespan.state)
        for listener in sockets:
            bound_clients(listener, max(VANISHED_S, watch.limits.body_timeout_s))
        loop = asyncio.get_running_loop()
        servers: list[Any] = []  # of uvicorn's own only `close` is used
        for listener in sockets:
            if config.ssl is None:
                same = [listener, *(listener.dup() for _ in range(_ACCEPTED_A_TURN - 1))]
                servers += [await loop.create_server(protocol, sock=one, backlog=config.backlog) for one in same]
            else:
                servers.append(TlsServer(listener, config.ssl, protocol, watch))
                servers[-1].listen(config.backlog)
        self.servers = servers
        self.started = True

    def _announce(self) -> None:
        """Tell that requests are answered from now on, and where; the garbage collector forgets what was imported."""
        gc.freeze()
        gc.enable()
        host, port = self._listeners.host_and_port()
        addresses = self._listeners.addresses()
        structlog.get_logger().info(
            "serving",
            host=host,
            port=port,
            addresses=addresses,
            passed_by_systemd=self._listeners.passed,
            pid=os.getpid(),
            startup_ms=round(_seconds_since_process_start() * 1000),
        )
        self._manager.ready(f"serving on {', '.join(addresses)}")

    def _reload(self) -> None:
        """Read tokens and certificate again, and open the log file again: `systemctl reload`."""
        self._manager.reloading()
        try:
            self._reload_files()
        finally:
            # Whatever became of it: systemd waits for this, and ends a service that never says it.
            self._manager.ready(f"serving on {', '.join(self._listeners.addresses())}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was sent, then close all connections; uvicorn's own way would close some unanswered.

        Streams would go on for ever, so they are told first.
        """
        self._streams.end()
        await drain(self, self._watch, own=() if self._listeners.passed else sockets or ())
        if self._part is not None:
            await self._part.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is uvicorn's
        """Stop accepting and finish what is in flight; a second Ctrl+C does not wait for it."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
        self._manager.stopping("answering the requests in flight")
        structlog.get_logger().info("stopping", signal=signal.Signals(sig).name)
