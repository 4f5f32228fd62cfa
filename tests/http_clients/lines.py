"""Writes ticks by a client of InfluxDB or of QuestDB; run with its name and a port, where both are installed."""

import sys

T = 1_767_225_600_000_000_000
ROWS = [(1.5, 2.0, "sell"), (2.5, 0.25, "buy"), (3.5, 1.0, "sell")]


def influxdb(port: int) -> None:
    """Write points, compressed and with a token; then one that is refused."""
    from influxdb_client import InfluxDBClient, Point  # noqa: PLC0415
    from influxdb_client.client.write_api import SYNCHRONOUS  # noqa: PLC0415
    from influxdb_client.rest import ApiException  # noqa: PLC0415

    with InfluxDBClient(url=f"http://127.0.0.1:{port}", token="any", org="o", enable_gzip=True) as client:  # noqa: S106
        write = client.write_api(write_options=SYNCHRONOUS).write
        points = [
            Point("trades")
            .tag("symbol", "A B")
            .tag("side", side)
            .field("price", price)
            .field("amount", size)
            .time(T + k)
            for k, (price, size, side) in enumerate(ROWS)
        ]
        write("bucket", record=points)
        try:
            write("bucket", record="trades bid=1")
        except ApiException as error:
            sys.stdout.write(f"{error.status} {error.message}")


def questdb(port: int) -> None:
    """Write rows over HTTP; then one that is refused."""
    from questdb import QuestDBError, Sender, TimestampNanos  # noqa: PLC0415

    with Sender.from_conf(f"http::addr=127.0.0.1:{port};") as sender:
        for k, (price, size, side) in enumerate(ROWS):
            columns = {"price": price, "amount": size}
            sender.row("trades", symbols={"symbol": "A B", "side": side}, columns=columns, at=TimestampNanos(T + k))
        sender.flush()
        sender.row("trades", columns={"bid": 1.0}, at=TimestampNanos(T))
        try:
            sender.flush()
        except QuestDBError as error:
            sys.stdout.write(str(error))


{"influxdb": influxdb, "questdb": questdb}[sys.argv[1]](int(sys.argv[2]))
