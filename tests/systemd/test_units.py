"""The unit files as texts; needs no systemd."""

from api.operation.beside import MOST_HELD_BYTES, MOST_RUNNING
from api.operation.capacity import files_of_store
from api.operation.logs import MAX_QUEUED_BYTES
from api.operation.settings import load
from api.server import connection_limits, most_at_once
from hft_mmap.durable.together import MOST_THREADS
from tests.service import ROOT, environment

UNITS = ROOT / "systemd"


def lines(name: str) -> list[str]:
    """Return the settings of a unit file, in its order."""
    text = (UNITS / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_template_is_the_service_with_a_name() -> None:
    """Unit files can't include each other, so nobody may change one of the two alone.

    A limit of starts, or a hurry to start again, is for the first instance: the shared socket would go with the limit.
    """
    service, template = lines("hft-mmap.service"), lines("hft-mmap@.service")
    assert [line for line in template if line not in service] == [
        "Description=Rolling price statistics over HTTP (hft-mmap, instance %i)",
        "StartLimitIntervalSec=0",
        "Sockets=hft-mmap.socket hft-mmap@%i.socket",
        "Environment=APP_SERVER__INSTANCE=%i",
        "RestartSec=1s",
    ]
    assert [line for line in service if line not in template] == [
        "Description=Rolling price statistics over HTTP (hft-mmap)",
        "StartLimitIntervalSec=60",
        "StartLimitBurst=20",
        "RestartSec=100ms",
    ]


def test_the_unit_of_a_shard_is_the_service_with_a_network() -> None:
    """It connects to its log, and has no socket that systemd opened; it is tried for ever, as the log may be away."""
    service, shard = lines("hft-mmap.service"), lines("hft-mmap-shard@.service")
    assert [line for line in shard if line not in service] == [
        "Description=Rolling price statistics over HTTP (hft-mmap, replica of shard %i)",
        "Documentation=file:///opt/hft-mmap/current/doc/docs/cluster.md",
        "Wants=network-online.target",
        "After=network-online.target nats-server.service kafka.service",
        "StartLimitIntervalSec=0",
        "ExecStart=/opt/hft-mmap/current/bin/hft-mmap serve --config /etc/hft-mmap/shard-%i.toml",
        "Environment=APP_CLUSTER__SHARD=%i",
        "TasksMax=128",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "IPAddressAllow=localhost",
    ]
    assert [line for line in service if line not in shard] == [
        "Description=Rolling price statistics over HTTP (hft-mmap)",
        "Documentation=file:///opt/hft-mmap/current/doc/docs/operations.md",
        "Requires=hft-mmap.socket",
        "After=hft-mmap.socket",
        "StartLimitIntervalSec=60",
        "StartLimitBurst=20",
        "ExecStart=/opt/hft-mmap/current/bin/hft-mmap serve --config /etc/hft-mmap/config.toml",
        "NonBlocking=yes",
        "TasksMax=64",
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "Also=hft-mmap.socket",
    ]


def test_the_installed_settings_lie_in_the_directories_of_the_units() -> None:
    """Nothing of them is relative, or where the sandbox lets nobody write."""
    assert not [name for name in environment({}) if name.startswith("APP_")]
    effective = load(UNITS / "config.toml")
    assert effective.settings.store.data_dir == "/var/lib/hft-mmap/data"
    assert effective.settings.log.file == "/var/log/hft-mmap/app.log"


def test_the_stop_has_more_time_than_the_grace() -> None:
    """What has not ended in time is killed, and the disk needs some of it as well."""
    (stop_s,) = (int(line.partition("=")[2]) for line in lines("hft-mmap.service") if line.startswith("TimeoutStopSec"))
    assert stop_s >= load(UNITS / "config.toml").settings.server.shutdown_grace_s + 15


def limit(name: str) -> int:
    """Return a limit of the service as a number; "4G" is 4 GiB."""
    (text,) = (line.partition("=")[2] for line in lines("hft-mmap.service") if line.startswith(f"{name}="))
    return int(text.removesuffix("G")) * (2**30 if text.endswith("G") else 1)


def test_the_limits_leave_room_for_what_the_settings_allow() -> None:
    """The arithmetic beside the limits, with the settings that are installed and the constants of the code."""
    settings = load(UNITS / "config.toml").settings
    limits = connection_limits(settings.server, settings.store.limits(), limit("LimitNOFILE"))
    assert limits.max_connections == settings.server.max_connections
    assert limit("LimitNOFILE") >= settings.server.max_connections + 10 * files_of_store(settings.store.limits())
    # A queue that is longer before the first start than after it would promise what no restart keeps.
    assert f"Backlog={most_at_once(limit('LimitNOFILE'))}" in lines("hft-mmap.socket")
    helpers, looker = MOST_THREADS - 1, 1
    assert limit("TasksMax") >= 1 + 3 + helpers + looker + MOST_RUNNING + 32 + 8
    program, connections = 250 * 10**6, 400 * 10**6
    held = program + settings.server.max_body_memory_bytes + connections + MAX_QUEUED_BYTES + MOST_HELD_BYTES
    nodes_and_tails = settings.store.max_symbols * (int(0.51 * settings.store.max_data_retention) + 2 * 36 * 10**6)
    assert limit("MemoryMax") >= held + 2 * nodes_and_tails


def test_the_documents_of_the_units_are_where_they_say() -> None:
    """`systemctl status` names a file; `make install` puts docs/ into doc/docs of a release."""
    for path in [*UNITS.glob("*.service"), *UNITS.glob("*.socket")]:
        (line,) = (line for line in lines(path.name) if line.startswith("Documentation="))
        document = line.removeprefix("Documentation=file:///opt/hft-mmap/current/doc/")
        assert (ROOT / document).is_file(), line
