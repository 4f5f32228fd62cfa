"""Settings: sources and their order, refusals, and all faults at once."""

import dataclasses
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.operation.checks import parse_size
from api.operation.settings import Effective, Settings, SettingsError, load
from hft_mmap import Limits
from tests.service import ROOT

DEFAULTS = {
    "server.host": "127.0.0.1",
    "server.port": 8080,
    "server.host_names": "",
    "server.unix_socket": "",
    "server.instance": "",
    "server.max_batch_values": 100_000,
    "server.max_body_bytes": 4_194_304,
    "server.max_connections": 4096,
    "server.max_head_memory_bytes": 33554432,
    "server.max_body_memory_bytes": 268435456,
    "server.max_answer_memory_bytes": 67108864,
    "server.max_share_percent": 75,
    "server.header_timeout_s": 10,
    "server.body_timeout_s": 30,
    "server.keep_alive_s": 75,
    "server.shutdown_grace_s": 10,
    "server.max_streams": 256,
    "server.max_prepared": 4096,
    "server.tls_certificate": "",
    "server.tls_key": "",
    "auth.tokens_file": "",
    "auth.allow_anonymous": False,
    "log.level": "info",
    "log.file": "logs/app.log",
    "log.keep_days": 14,
    "log.max_file_bytes": 64 * 2**20,
    "log.slow_request_ms": 100,
    "store.data_dir": "data",
    "store.max_data_retention": 150_000_000,
    "store.cleanup_keep_count": 100_000_000,
    "store.max_symbols": 10,
    "store.create_on_append": True,
    "store.starting_capacity": 1_000_000,
    "store.durability": "interval",
    "store.sync_interval_ms": 50,
    "store.late": "clamp",
    "store.negative_prices": False,
    "store.groups": "",
    "line_protocol.symbol_tag": "symbol",
    "line_protocol.price_fields": "price, close, value",
    "line_protocol.size_fields": "size, amount, qty",
    "line_protocol.side": "side",
    "cluster.log": "",
    "cluster.servers": "",
    "cluster.credentials_file": "",
    "cluster.tls_ca": "",
    "cluster.shard": 0,
    "cluster.replica": "",
    "cluster.slots": "0-1023",
    "cluster.max_block_bytes": 900_000,
    "cluster.append_timeout_s": 10,
    "cluster.queue_bytes": 64 * 2**20,
    "cluster.position_s": 5,
    "cluster.monitor_urls": "",
    "cluster.require_fsync": True,
}


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a working directory of its own, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("APP_")]:
        monkeypatch.delenv(name)


def write(name: str, text: str) -> Path:
    """Write a file into the working directory."""
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def faults(config_path: Path | None = None) -> list[str]:
    """Return what `load` refuses."""
    with pytest.raises(SettingsError) as caught:
        load(config_path)
    assert str(caught.value) == "; ".join(caught.value.faults)
    return list(caught.value.faults)


def value_and_origin(effective: Effective, key: str) -> tuple[object, str]:
    """Return value and origin of one setting."""
    return next((value, origin) for name, value, origin in effective.items() if name == key)


def test_many_symbols_take_no_space_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody has said how much they are to take: at 8.5 MB each they would fill the disk."""
    for most, chosen, capacity, origin in (
        ("100", None, 1_000_000, "default"),
        ("101", None, 0, "default above 100 symbols"),
        ("101", "1000000", 1_000_000, "APP_STORE__STARTING_CAPACITY"),
    ):
        monkeypatch.setenv("APP_STORE__MAX_SYMBOLS", most)
        if chosen:
            monkeypatch.setenv("APP_STORE__STARTING_CAPACITY", chosen)
        effective = load()
        assert effective.settings.store.limits().starting_capacity == capacity
        assert effective.origins["store.starting_capacity"] == origin


def test_many_symbols_have_their_requests_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody has said how many: asked in turn, none of more than are remembered would be there when it is due."""
    for most, chosen, remembered, origin in (
        ("1024", None, 4096, "default"),
        ("1025", None, 4100, "default above 1024 symbols"),
        ("20000", None, 65_536, "default above 1024 symbols"),
        ("20000", "4096", 4096, "APP_SERVER__MAX_PREPARED"),
    ):
        monkeypatch.setenv("APP_STORE__MAX_SYMBOLS", most)
        if chosen:
            monkeypatch.setenv("APP_SERVER__MAX_PREPARED", chosen)
        effective = load()
        assert effective.settings.server.max_prepared == remembered
        assert effective.origins["server.max_prepared"] == origin


def test_without_any_source_the_defaults_hold() -> None:
    """No file is needed; every origin is "default"."""
    effective = load()
    assert {key: value for key, value, _ in effective.items()} == DEFAULTS
    assert set(effective.origins.values()) == {"default"}
    assert effective.settings == Settings()


def test_the_shipped_config_file_repeats_the_defaults() -> None:
    """`config.toml` of the project names every key, each with its default."""
    shipped = ROOT / "config.toml"
    effective = load(shipped)
    assert effective.settings == Settings()
    assert set(effective.origins.values()) == {str(shipped)}


def test_the_shipped_dotenv_example_is_valid() -> None:
    """`.env.example` of the project can be used as it is."""
    write(".env", (ROOT / ".env.example").read_text(encoding="utf-8"))
    assert load().settings == Settings()


def test_the_defaults_of_the_limits_are_those_of_the_store() -> None:
    """`hft_mmap.Limits` owns the defaults; the settings only pass them on."""
    assert Settings().store.limits() == Limits()


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_key_has_a_variable(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`APP_SECTION__KEY` sets the key, and is its origin."""
    name = f"APP_{key.upper().replace('.', '__')}"
    monkeypatch.setenv(name, str(DEFAULTS[key]))
    assert value_and_origin(load(), key) == (DEFAULTS[key], name)


@pytest.mark.parametrize("text", ['"a.example, ::1"', "['a.example', '::1']"])
def test_host_names_are_a_list_or_a_text(text: str) -> None:
    """A variable has commas; a file may have either."""
    write("config.toml", f"[server]\nhost_names = {text}\n")
    assert load().settings.server.names() == ("127.0.0.1", "a.example", "::1")


def test_environment_beats_dotenv_beats_file_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources are asked in this order, each key for itself."""
    key = "server.port"
    assert value_and_origin(load(), key) == (8080, "default")
    write("config.toml", "[server]\nport = 1\n")
    assert value_and_origin(load(), key) == (1, "config.toml")
    write(".env", "APP_SERVER__PORT=2\n")
    assert value_and_origin(load(), key) == (2, ".env")
    monkeypatch.setenv("APP_SERVER__PORT", "3")
    assert value_and_origin(load(), key) == (3, "APP_SERVER__PORT")
    assert value_and_origin(load(), "server.host") == ("127.0.0.1", "default")


def test_a_named_config_file_replaces_the_one_in_the_working_directory() -> None:
    """With --config the file of the working directory is not read."""
    write("config.toml", "[server]\nport = 1\n")
    effective = load(write("other.toml", '[log]\nlevel = "debug"\n'))
    assert value_and_origin(effective, "log.level") == ("debug", "other.toml")
    assert value_and_origin(effective, "server.port") == (8080, "default")


def test_a_named_config_file_must_exist() -> None:
    """A missing config.toml is fine, a missing --config is not."""
    assert faults(Path("missing.toml")) == ["missing.toml: No such file or directory"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nprot = 1", "unknown key server.prot (did you mean server.port?)"),
        ("[server]\nxyz = 1", "unknown key server.xyz"),
        ("[sever]\nport = 1", "unknown section [sever] (did you mean server?)"),
        ("port = 1", "port = 1 stands in no section; it belongs below [server]"),
        ("server = 1", "server must be a section [server], not 1"),
        ("[[server]]", "server must be a section [server], not [{}]"),
        ("[server]\nport = -1", "server.port must be a whole number from 0 to 65535, not -1"),
        ("[server]\nport = 65536", "server.port must be a whole number from 0 to 65535, not 65536"),
        ("[server]\nport = true", "server.port must be a whole number from 0 to 65535, not True"),
        ("[server]\nport = 80.0", "server.port must be a whole number from 0 to 65535, not 80.0"),
        ('[server]\nport = "80"', "server.port must be a whole number from 0 to 65535, not '80'"),
        ("[server]\nhost = ''", "server.host must be a text, neither empty nor with control characters, not ''"),
        (
            "[server]\nhost_names = 1",
            "server.host_names must be a list of names, or a text with commas between them, not 1",
        ),
        (
            "[server]\nhost_names = ['http://a:80']",
            "server.host_names must have names such as prices.example.com, without scheme and port, not 'http://a:80'",
        ),
        ("[server]\nhost = 1", "server.host must be a text, neither empty nor with control characters, not 1"),
        (
            "[server]\nunix_socket = 1",
            "server.unix_socket must be a text, neither empty nor with control characters, not 1",
        ),
        (
            f"[server]\nunix_socket = '{'x' * 108}'",
            f"server.unix_socket must be a path of at most 107 bytes, not '{'x' * 108}'",
        ),
        (
            "[server]\ninstance = '../app'",
            "server.instance must be 1 to 64 letters, digits, dots, hyphens or underscores, or empty, not '../app'",
        ),
        ("[server]\nmax_body_bytes = 1", "server.max_body_bytes must be 1024 to 1073741824 bytes, not 1"),
        (
            "[server]\nmax_body_bytes = '4 potatoes'",
            "server.max_body_bytes must be a number of bytes, or a text such as \"4 MiB\", not '4 potatoes'",
        ),
        ("[auth]\nallow_anonymous = 1", "auth.allow_anonymous must be true or false, not 1"),
        ("[log]\nlevel = 'loud'", "log.level must be one of debug, info, warning, error, not 'loud'"),
        ("[store]\nmax_symbols = 0", "store.max_symbols must be a whole number from 1, not 0"),
        ("[store]\nmax_symbols = true", "store.max_symbols must be a whole number from 1, not True"),
        ("[store]\nstarting_capacity = -1", "store.starting_capacity must be a whole number from 0, not -1"),
        (
            "[store]\ndurability = 'perhaps'",
            "store.durability must be one of process, interval, sync, not 'perhaps'",
        ),
    ],
)
def test_a_bad_value_is_named_with_its_limit(text: str, expected: str) -> None:
    """Each fault says where, which key, what is allowed and what was given."""
    write("config.toml", text)
    assert faults() == [f"config.toml: {expected}"]


def test_a_limit_that_contradicts_a_default_is_a_fault() -> None:
    """The keep count of the defaults is above this retention, which nobody wants to find out at the first cleanup."""
    write("config.toml", "[store]\nmax_data_retention = 1000\n")
    assert faults() == ["store: cleanup_keep_count (100000000) must be at most max_data_retention (1000)"]
    write("config.toml", "[store]\nmax_data_retention = 1000\ncleanup_keep_count = 1000\n")
    assert load().settings.store.limits().max_data_retention == 1000


def test_settings_that_contradict_each_other_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and everybody, a certificate without its key: nobody can have meant both, or only half."""
    write("config.toml", "[auth]\nallow_anonymous = true\ntokens_file = 'tokens'\n[server]\ntls_key = 'key.pem'\n")
    assert faults() == [
        "server: tls_key is set and tls_certificate is not; TLS needs both",
        "auth: allow_anonymous is for a service without tokens; with tokens_file it must be false",
    ]
    monkeypatch.setenv("APP_AUTH__ALLOW_ANONYMOUS", "no")
    monkeypatch.setenv("APP_SERVER__TLS_CERTIFICATE", "certificate.pem")
    assert load().settings.auth.tokens_file == "tokens"
    monkeypatch.setenv("APP_AUTH__ALLOW_ANONYMOUS", "perhaps")
    assert faults() == ["APP_AUTH__ALLOW_ANONYMOUS must be true or false, not 'perhaps'"]


def test_all_faults_of_all_sources_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to start a service four times to learn of four mistakes."""
    write("config.toml", "[server]\nprot = 1\nport = 99999\n")
    write(".env", "APP_LOG__LEVEL=loud\nAPP_LOG__LEVL=info\n")
    monkeypatch.setenv("APP_STORE__MAX_SYMBOLS", "many")
    monkeypatch.setenv("APP_STORE", "x")
    assert faults() == [
        "config.toml: unknown key server.prot (did you mean server.port?)",
        "config.toml: server.port must be a whole number from 0 to 65535, not 99999",
        "environment: unknown variable APP_STORE",
        ".env: unknown variable APP_LOG__LEVL (did you mean APP_LOG__LEVEL?)",
        ".env: APP_LOG__LEVEL must be one of debug, info, warning, error, not 'loud'",
        "APP_STORE__MAX_SYMBOLS must be a whole number, not 'many'",
    ]


def test_an_overridden_value_of_the_file_must_be_right_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong today and hidden by a variable would stop the start on the day the variable goes."""
    write("config.toml", "[server]\nport = -1\n")
    monkeypatch.setenv("APP_SERVER__PORT", "1")
    assert faults() == ["config.toml: server.port must be a whole number from 0 to 65535, not -1"]


@pytest.mark.parametrize("text", ["", " ", "1.5", "true", "0x10", "1e3", "None"])
def test_a_variable_of_a_number_must_be_one(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable is a fault too, not a default."""
    monkeypatch.setenv("APP_SERVER__PORT", text)
    assert faults() == [f"APP_SERVER__PORT must be a whole number, not {text!r}"]


def test_variables_without_the_prefix_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only APP_ is claimed, in the environment and in `.env`."""
    monkeypatch.setenv("SERVER__PORT", "x")
    write(".env", "export OTHER_TOOL=1\n")
    assert load().settings == Settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("APP_SERVER__PORT\n", [".env: line 1 is not NAME=value"]),
        ("APP_SERVER__PORT=1\n= what\n", [".env: line 2 is not NAME=value"]),
        ("APP_SERVER__PROT=1\n", [".env: unknown variable APP_SERVER__PROT (did you mean APP_SERVER__PORT?)"]),
        ("APP_SERVER__PORT=\n", [".env: APP_SERVER__PORT must be a whole number, not ''"]),
    ],
)
def test_faults_of_dotenv_are_named(text: str, expected: list[str]) -> None:
    """`.env` is held to the same rules."""
    write(".env", text)
    assert faults() == expected


def test_dotenv_may_have_quotes_comments_and_export() -> None:
    """The forms that people use in `.env` are understood."""
    write(".env", "# mine\nexport APP_SERVER__PORT='9000' # free\n\nAPP_STORE__DATA_DIR=\"my data\"\n")
    settings = load().settings
    assert (settings.server.port, settings.store.data_dir) == (9000, "my data")


def test_dotenv_of_a_parent_directory_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the working directory counts; a file further up belongs to somebody else."""
    write(".env", "APP_SERVER__PORT=1\n")
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert load().settings.server.port == 8080


def test_files_that_cannot_be_read_are_faults() -> None:
    """A directory, broken TOML and bytes that are no UTF-8 are named, not raised."""
    Path("config.toml").mkdir()
    Path(".env").mkdir()
    assert faults() == ["config.toml: Is a directory", ".env: Is a directory"]
    Path(".env").rmdir()
    broken = write("broken.toml", "[server\n")
    assert faults(broken)[0].startswith("broken.toml: Expected ']'")
    broken.write_bytes(b"\xff")
    Path(".env").write_bytes(b"\xff")
    assert [fault.split(":")[0] for fault in faults(broken)] == ["broken.toml", ".env"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4194304", 4_194_304),
        ("4_194_304", 4_194_304),
        ("4 MiB", 4_194_304),
        ("4mib", 4_194_304),
        (" 4MB ", 4_000_000),
        ("500 kB", 500_000),
        ("1 GiB", 2**30),
        ("64KiB", 65_536),
        ("1024 B", 1024),
    ],
)
def test_sizes_have_units(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """kB, MB and GB count in thousands; KiB, MiB and GiB in 1024; a file and a variable take the same texts."""
    assert parse_size(text) == size
    write("config.toml", f"[server]\nmax_body_bytes = {text!r}\n")
    assert load().settings.server.max_body_bytes == size
    monkeypatch.setenv("APP_SERVER__MAX_BODY_BYTES", text)
    assert load().settings.server.max_body_bytes == size


@pytest.mark.parametrize("value", ["", "MiB", "-1", "1.5 MiB", "4 MiB 3", "4 Mi B", "٤", None, True, 4.0, [4]])
def test_what_is_no_size_is_refused(value: object) -> None:
    """Fractions, signs, foreign digits and booleans are no sizes."""
    with pytest.raises(ValueError, match="must be a number of bytes"):
        parse_size(value)


@given(st.integers(min_value=0))
def test_any_size_in_digits_is_itself(size: int) -> None:
    """A number and its digits are the same size."""
    assert parse_size(size) == parse_size(str(size)) == size


def test_words_are_taken_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """INFO and Sync are what people write in the environment."""
    monkeypatch.setenv("APP_LOG__LEVEL", "WARNING")
    monkeypatch.setenv("APP_STORE__DURABILITY", "Sync")
    settings = load().settings
    assert (settings.log.level, settings.store.durability) == ("warning", "sync")


def test_settings_cannot_be_changed() -> None:
    """They are read once, at the start."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().settings.server.port = 1  # type: ignore[misc]


def test_the_shipped_config_file_has_every_key() -> None:
    """A key that is added to the code is added to the file that documents it."""
    document = tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))
    assert [f"{section}.{name}" for section, table in document.items() for name in table] == list(DEFAULTS)
