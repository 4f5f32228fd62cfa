"""The settings of the service: one frozen dataclass a section, and where each value came from.

An option of the command beats a variable of the environment, which beats `.env`, which beats `config.toml`, which beats
the default. Every key has a variable `APP_SECTION__KEY`. What the dataclasses below do not name is refused, and all
faults are reported together: a start that fails says everything that is wrong, not the first thing.
"""

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from environs import Env, EnvError

from api.operation import checks
from api.operation.checks import setting
from api.operation.sharding import ClusterSettings
from hft_mmap import Durability, Late, Limits

DEFAULT_CONFIG = Path("config.toml")
DOTENV = Path(".env")
DEFAULT_ORIGIN = "default"

_PREFIX = "APP_"
_LOG_LEVELS = ("debug", "info", "warning", "error")
_KINDS = {"int": "a whole number", "bool": "true or false"}
_LIMITS = Limits()
_REMEMBERED = 4096
MOST_PREPARED = 65_536


class SettingsError(Exception):
    """The settings cannot be used; `faults` names everything that is wrong with them."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the service listens, and what it accepts."""

    host: str = setting("127.0.0.1", checks.text, kind="str")
    port: int = setting(8080, checks.whole(0, 65_535))  # 0: any free port
    host_names: str = setting("", checks.host_names, kind="str")  # without tokens: besides those of this machine
    unix_socket: str = setting("", checks.socket_path, kind="str")  # besides host and port; empty: none
    instance: str = setting(
        "", checks.instance, kind="str"
    )  # of several processes over one directory; empty: the only one
    max_batch_values: int = setting(100_000, checks.whole(1, 100_000_000))
    max_body_bytes: int = setting(4 * 2**20, checks.size(1024, 2**30), kind="str")
    max_connections: int = setting(4096, checks.whole(1, 1_000_000))
    # Of all connections together: heads, bodies and messages, answers that are not taken; and what one token, or one
    # address without a token, may have of each, and of max_connections.
    max_head_memory_bytes: int = setting(32 * 2**20, checks.size(2**20, 2**40), kind="str")
    max_body_memory_bytes: int = setting(256 * 2**20, checks.size(2**20, 2**40), kind="str")
    max_answer_memory_bytes: int = setting(64 * 2**20, checks.size(2**20, 2**40), kind="str")
    max_share_percent: int = setting(75, checks.whole(1, 100))
    header_timeout_s: int = setting(10, checks.whole(1, 3600))
    body_timeout_s: int = setting(30, checks.whole(1, 3600))
    # A client that pushes a price now and then keeps its connection; uvicorn's 5 s would make it reconnect each time,
    # and lose the race between its next request and the close.
    keep_alive_s: int = setting(75, checks.whole(1, 86_400))
    shutdown_grace_s: int = setting(10, checks.whole(0, 3600))
    max_streams: int = setting(256, checks.whole(0, 1000))
    max_prepared: int = setting(_REMEMBERED, checks.whole(0, MOST_PREPARED))  # answered the short way; 0: none
    tls_certificate: str = setting("", checks.text_or_empty, kind="str")  # PEM, with the chain; empty: no TLS
    tls_key: str = setting("", checks.text_or_empty, kind="str")

    def names(self) -> tuple[str, ...]:
        """Return by which names clients may call a service without tokens, besides those of this machine."""
        return (self.host, *filter(None, self.host_names.split(", ")))

    def check(self) -> None:
        """Raise ValueError where the settings contradict each other."""
        if bool(self.tls_certificate) != bool(self.tls_key):
            given, missing = ("tls_certificate", "tls_key") if self.tls_certificate else ("tls_key", "tls_certificate")
            raise ValueError(f"{given} is set and {missing} is not; TLS needs both")


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who may use the service."""

    tokens_file: str = setting("", checks.text_or_empty, kind="str")  # empty: no tokens, everybody who reaches it
    allow_anonymous: bool = setting(default=False, check=checks.yes_or_no, kind="bool")  # also beyond this machine

    def check(self) -> None:
        """Raise ValueError where the settings contradict each other."""
        if self.tokens_file and self.allow_anonymous:
            raise ValueError("allow_anonymous is for a service without tokens; with tokens_file it must be false")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and where to besides the console."""

    level: str = setting("info", checks.one_of(*_LOG_LEVELS), kind="str")
    file: str = setting("logs/app.log", checks.text_or_empty, kind="str")  # empty: the console only
    keep_days: int = setting(14, checks.whole(0, 36_500))  # 0: for ever
    max_file_bytes: int = setting(64 * 2**20, checks.size(2**16, 2**40), kind="str")  # a day has at most twice as many
    slow_request_ms: int = setting(100, checks.whole(0, 3_600_000))  # 0: every request is slow


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the data lives, how much of it is kept, and when it counts as stored."""

    data_dir: str = setting("data", checks.text, kind="str")
    max_data_retention: int = setting(_LIMITS.max_data_retention, checks.limit("max_data_retention"))
    cleanup_keep_count: int = setting(_LIMITS.cleanup_keep_count, checks.limit("cleanup_keep_count"))
    max_symbols: int = setting(_LIMITS.max_symbols, checks.limit("max_symbols"))
    create_on_append: bool = setting(
        default=True, check=checks.yes_or_no, kind="bool"
    )  # else a symbol has to be made first
    starting_capacity: int = setting(_LIMITS.starting_capacity, checks.limit("starting_capacity"))
    durability: str = setting(Durability.INTERVAL.value, checks.one_of(*Durability), kind="str")
    sync_interval_ms: int = setting(50, checks.whole(1, 60_000))
    late: str = setting(Late.CLAMP.value, checks.one_of(*Late), kind="str")  # what becomes of points that come late
    negative_prices: bool = setting(default=False, check=checks.yes_or_no, kind="bool")  # whether prices may be
    groups: str = setting("", checks.groups, kind="str")  # summaries of the path that are kept up; empty: none

    def limits(self) -> Limits:
        """Return the limits of the store. Raises ValueError where they contradict each other."""
        names = {item.name for item in dataclasses.fields(Limits)}
        found = {name: value for name, value in dataclasses.asdict(self).items() if name in names}
        return Limits(**found | {"groups": tuple(filter(None, self.groups.split(", ")))})


@dataclass(frozen=True, slots=True)
class LineProtocolSettings:
    """What lines of InfluxDB's line protocol mean: the tag that names the symbol, and fields, the first first."""

    symbol_tag: str = setting("symbol", checks.text, kind="str")
    price_fields: str = setting("price, close, value", checks.text, kind="str")
    size_fields: str = setting("size, amount, qty", checks.text_or_empty, kind="str")
    side: str = setting(
        "side", checks.text_or_empty, kind="str"
    )  # a tag or a field; empty: sizes are taken as they are


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; the names of the fields are the sections of `config.toml`."""

    server: ServerSettings = field(default_factory=ServerSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    log: LogSettings = field(default_factory=LogSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    line_protocol: LineProtocolSettings = field(default_factory=LineProtocolSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)


MANY_SYMBOLS = 100
"""With room for more symbols than these, `store.starting_capacity` is 0 where nobody has set it."""
_EACH = 4
"""So many requests of each symbol are remembered where nobody has set `server.max_prepared`, and that is more."""
_SECTIONS: dict[
    str,
    type[ServerSettings | AuthSettings | LogSettings | StoreSettings | LineProtocolSettings | ClusterSettings],
] = {
    "server": ServerSettings,
    "auth": AuthSettings,
    "log": LogSettings,
    "store": StoreSettings,
    "line_protocol": LineProtocolSettings,
    "cluster": ClusterSettings,
}
_KEYS: dict[str, dataclasses.Field[Any]] = {
    f"{section}.{item.name}": item for section, cls in _SECTIONS.items() for item in dataclasses.fields(cls)
}
_KEY_OF_VARIABLE = {_PREFIX + key.upper().replace(".", "__"): key for key in _KEYS}


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings in force, and the origin of each: "default", a file, or the name of a variable."""

    settings: Settings
    origins: Mapping[str, str]

    def items(self) -> Iterator[tuple[str, object, str]]:
        """Yield key, value and origin of every setting, in the order of `config.toml`."""
        for key in _KEYS:
            section, name = key.split(".")
            yield key, getattr(getattr(self.settings, section), name), self.origins[key]


OPTIONS: Mapping[str, str] = {"server.host": "--host", "server.port": "--port", "store.data_dir": "--data-dir"}
"""The settings that `hft-mmap serve` has an option for, which beats every other source."""


def how_to_set(key: str) -> str:
    """Return "server.port (--port, or APP_SERVER__PORT)": what whoever reads an error may change, and by what."""
    variable = _PREFIX + key.upper().replace(".", "__")
    return f"{key} ({OPTIONS[key]}, or {variable})" if key in OPTIONS else f"{key} ({variable})"


def load(
    config_path: Path | None = None, *, dotenv_path: Path = DOTENV, given: Mapping[str, object] | None = None
) -> Effective:
    """Return the settings in force; `given` are those of the command line, by their keys, None for none.

    `config_path` must exist if given; without it `config.toml` in the working directory is read if it is there, like
    `.env`. Raises SettingsError with every fault of the file, of `.env` and of the environment.
    """
    return _Loader().load(config_path, dotenv_path, given or {})


def _did_you_mean(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f" (did you mean {close[0]}?)" if close else ""


class _Loader:
    """One pass over all sources; collects values, their origins, and faults."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {key: item.default for key, item in _KEYS.items()}
        self.origins = dict.fromkeys(_KEYS, DEFAULT_ORIGIN)
        self.faults: list[str] = []

    def load(self, config_path: Path | None, dotenv_path: Path, given: Mapping[str, object]) -> Effective:
        # os.path.exists: in a working directory that this user may not search there is no file, and no error either.
        if config_path is not None or os.path.exists(DEFAULT_CONFIG):  # noqa: PTH110
            self._read_file(config_path or DEFAULT_CONFIG)
        self._read_environment(dotenv_path)
        for key, value in given.items():
            if value is not None:
                self._take(key, value, OPTIONS[key], OPTIONS[key])
        self._fit_many_symbols()
        self._leave_syncing_to_the_log()
        settings = Settings(
            server=ServerSettings(**self._section("server")),
            auth=AuthSettings(**self._section("auth")),
            log=LogSettings(**self._section("log")),
            store=StoreSettings(**self._section("store")),
            line_protocol=LineProtocolSettings(**self._section("line_protocol")),
            cluster=ClusterSettings(**self._section("cluster")),
        )
        if not self.faults:
            # Each setting is right on its own; these are about two of them.
            checks = {"server": settings.server.check, "auth": settings.auth.check, "store": settings.store.limits}
            for section, check in checks.items():
                try:
                    check()
                except ValueError as error:
                    self.faults.append(f"{section}: {error}")
            self.faults += settings.cluster.faults(settings.server, settings.store)
        if self.faults:
            raise SettingsError(self.faults)
        return Effective(settings, self.origins)

    def _fit_many_symbols(self) -> None:
        """Take no space ahead for many symbols, 8.5 MB each, and remember four requests of each; unless it is set."""
        most = self.values["store.max_symbols"]
        if not isinstance(most, int):
            return
        for key, above, value in (
            ("store.starting_capacity", MANY_SYMBOLS, 0),
            ("server.max_prepared", _REMEMBERED // _EACH, min(_EACH * most, MOST_PREPARED)),
        ):
            if self.origins[key] == DEFAULT_ORIGIN and most > above:
                self.values[key] = value
                self.origins[key] = f"default above {above} symbols"

    def _leave_syncing_to_the_log(self) -> None:
        """Where there is a log, it is the one to sync; unless it is set."""
        if self.values["cluster.log"] and self.origins["store.durability"] == DEFAULT_ORIGIN:
            self.values["store.durability"] = Durability.PROCESS.value
            self.origins["store.durability"] = "default with cluster.log"

    def _section(self, name: str) -> dict[str, Any]:
        return {item.name: self.values[f"{name}.{item.name}"] for item in dataclasses.fields(_SECTIONS[name])}

    def _take(self, key: str, value: object, origin: str, name: str) -> None:
        """Check `value` and keep it; `name` is what the user calls it at its origin."""
        try:
            self.values[key] = _KEYS[key].metadata["check"](value)
        except ValueError as error:
            text = str(error).removeprefix(f"{key.split('.')[1]} ")  # Limits puts its field's name first
            self.faults.append(f"{name} {text}")
        else:
            self.origins[key] = origin

    def _read_file(self, path: Path) -> None:
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            self.faults.append(f"{path}: {error.strerror}")
            return
        except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
            self.faults.append(f"{path}: {error}")
            return
        for section, table in document.items():
            if section not in _SECTIONS and not isinstance(table, dict):
                homes = [key.partition(".")[0] for key in _KEYS if key.partition(".")[2] == section]
                belongs = f"; it belongs below [{homes[0]}]" if homes else ""
                self.faults.append(f"{path}: {section} = {table!r} stands in no section{belongs}")
            elif section not in _SECTIONS:
                self.faults.append(f"{path}: unknown section [{section}]{_did_you_mean(section, _SECTIONS)}")
            elif not isinstance(table, dict):
                self.faults.append(f"{path}: {section} must be a section [{section}], not {table!r}")
            else:
                for name, value in table.items():
                    self._take_from_file(path, f"{section}.{name}", value)

    def _take_from_file(self, path: Path, key: str, value: object) -> None:
        if key in _KEYS:
            self._take(key, value, str(path), f"{path}: {key}")
        else:
            self.faults.append(f"{path}: unknown key {key}{_did_you_mean(key, _KEYS)}")

    def _read_environment(self, dotenv_path: Path) -> None:
        env = Env()
        in_file = self._names_in_dotenv(dotenv_path)
        if in_file:
            env.read_env(dotenv_path, recurse=False)
        # environs ignores what it is not asked for, so names are compared here.
        for origin, names in (("environment", set(os.environ)), (str(dotenv_path), in_file)):
            for name in sorted(names):
                if name.startswith(_PREFIX) and name not in _KEY_OF_VARIABLE:
                    hint = _did_you_mean(name, _KEY_OF_VARIABLE)
                    self.faults.append(f"{origin}: unknown variable {name}{hint}")
        for name, key in _KEY_OF_VARIABLE.items():
            if name in os.environ:
                self._take_from_variable(env, name, key, origin=name, text=name)
            elif name in in_file:
                self._take_from_variable(env, name, key, origin=str(dotenv_path), text=f"{dotenv_path}: {name}")

    def _take_from_variable(self, env: Env, name: str, key: str, *, origin: str, text: str) -> None:
        # environs skips `validate=` for defaults and its ranges know one value at a time; so it only gives the type.
        kind = _KEYS[key].metadata["kind"]
        try:
            value = env.int(name) if kind == "int" else env.bool(name) if kind == "bool" else env.str(name)
        except EnvError:
            self.faults.append(f"{text} must be {_KINDS[kind]}, not {env.str(name)!r}")
        else:
            self._take(key, value, origin, text)

    def _names_in_dotenv(self, path: Path) -> set[str]:
        """Return the names that have a value in `.env`; a line without one, or that is none, is a fault."""
        if not os.path.exists(path):  # noqa: PTH110 - as above
            return set()
        try:
            with path.open(encoding="utf-8") as stream:
                bindings = list(parse_stream(stream))
        except OSError as error:
            self.faults.append(f"{path}: {error.strerror}")
            return set()
        except UnicodeDecodeError as error:
            self.faults.append(f"{path}: {error}")
            return set()
        lines_without_value = [
            binding.original.line for binding in bindings if binding.error or (binding.key and binding.value is None)
        ]
        if lines_without_value:
            self.faults.extend(f"{path}: line {line} is not NAME=value" for line in lines_without_value)
            return set()
        return {binding.key for binding in bindings if binding.key}
