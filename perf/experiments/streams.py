"""Ten points a message: a WebSocket beside POSTs of the same points, on one connection each, in turn; and questions.

The WebSocket's client does not wait for acknowledgements before it sends on; a measurement ends with the last of them.
The client of the POSTs waits for each answer (closed loop), which is what HTTP clients do. So the processor time of the
server for ten points is given too: that is a comparison which no waiting distorts. Questions are asked the same way,
one or a hundred in a message; a client in Python is the slower one where each has a message of its own.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from perf import load, servers
from perf.case import Work, name
from perf.experiment import Effort, Experiment
from perf.experiments.throughput import OTHER_CORE, SERVER_CORE, Taken
from perf.lab import SYMBOL, Lab
from perf.prices import price_blocks
from perf.record import Benchmark, benchmark
from perf.requests import post
from perf.servers import Server
from perf.suites.decode import body

POINTS = 10
_BLOCK_FRAMES = 1000
_FRAMES_A_SECOND = 50_000  # so many are sent for each second of effort
_QUESTIONS_A_SECOND = 100_000  # likewise
_SETTINGS = {"store.max_data_retention": 64 * 10**6, "store.cleanup_keep_count": 16 * 10**6}


def _posts(server: Server, seconds: float) -> Taken:
    """Post ten points again and again over one connection."""
    before = server.cpu_seconds()
    outcome = load.run(server.port, [load.Stream("all", [post("/add_batch/", body(POINTS))], 1)], seconds)["all"]
    return Taken(1 / outcome.rate, (server.cpu_seconds() - before) / outcome.answered)


def _frames(server: Server, seconds: float) -> Taken:
    """Send messages of ten points over one WebSocket, until the last is acknowledged."""
    values = next(price_blocks())[:POINTS].astype("<f8").tobytes()
    block = Frame(Opcode.BINARY, values).serialize(mask=True) * _BLOCK_FRAMES
    blocks = max(round(seconds * _FRAMES_A_SECOND / _BLOCK_FRAMES), 1)
    url = f"ws://127.0.0.1:{server.port}/stream?mode=ingest&symbol={SYMBOL}"
    with connect(url, compression=None) as stream:
        stream.recv()
        before, begin = server.cpu_seconds(), perf_counter()
        sending = threading.Thread(target=_send, args=(stream.socket, block, blocks))
        sending.start()
        while json.loads(stream.recv())["frames"] < blocks * _BLOCK_FRAMES:
            pass
        taken = perf_counter() - begin
        sending.join()
        frames = blocks * _BLOCK_FRAMES
        return Taken(taken / frames, (server.cpu_seconds() - before) / frames)


def _send(connection: socket.socket, block: bytes, blocks: int) -> None:
    for _ in range(blocks):
        connection.sendall(block)


def _asked(server: Server, seconds: float, questions: int) -> Taken:
    """Ask over one WebSocket, so many questions a message, until the last is answered."""
    question = f"symbol={SYMBOL}&window=1000"
    block = Frame(Opcode.TEXT, "\n".join([question] * questions).encode()).serialize(mask=True)
    messages = max(round(seconds * _QUESTIONS_A_SECOND / questions), 1)
    with connect(f"ws://127.0.0.1:{server.port}/stream?mode=query", compression=None) as stream:
        stream.recv()
        before, begin = server.cpu_seconds(), perf_counter()
        sending = threading.Thread(target=_send, args=(stream.socket, block, messages))
        sending.start()
        for _ in range(messages):
            answers = stream.recv(decode=False)
        taken = perf_counter() - begin
        sending.join()
        assert answers.count(b'"max"') == questions
        return Taken(taken / messages / questions, (server.cpu_seconds() - before) / messages / questions)


def _measure_questions(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    with (
        lab.scratch() as scratch,
        servers.service(scratch, Path(scratch, "data"), _SETTINGS, [SERVER_CORE]) as server,
        servers.on_cores([OTHER_CORE]),
    ):
        _posts(server, 0.5)  # there has to be something to ask about
        for many in (1, 100):
            taken = [_asked(server, effort.seconds, many) for _ in range(effort.rounds)]
            for what, figures in (("", [one.seconds for one in taken]), ("_cpu", [one.cpu_seconds for one in taken])):
                named = name("streams", "query", questions=many, connections=1, what=f"answer{what}")
                yield benchmark(named, [[one] for one in figures], work=Work(1, "answers"))


def _measure(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    with lab.scratch() as scratch, servers.service(scratch, Path(scratch, "data"), _SETTINGS, [SERVER_CORE]) as server:
        takers: dict[str, Callable[[Server, float], Taken]] = {"post": _posts, "websocket": _frames}
        with servers.on_cores([OTHER_CORE]):
            for take in takers.values():
                take(server, 0.5)  # warms up
            rounds = [{who: take(server, effort.seconds) for who, take in takers.items()} for _ in range(effort.rounds)]
    work = Work(POINTS, "points")
    for who in takers:
        yield benchmark(_named(who), [[one[who].seconds] for one in rounds], work=work)
        yield benchmark(_named(f"{who}_cpu"), [[one[who].cpu_seconds] for one in rounds], work=work)
    ratios = [[one["post"].seconds / one["websocket"].seconds] for one in rounds]
    yield benchmark(_named("ratio"), ratios, unit="integer")


def _named(what: str) -> str:
    return name("streams", "ingest", points=POINTS, connections=1, what=what)


EXPERIMENTS = (
    Experiment("streams.ingest", _measure, "interval", loads=2),
    Experiment("streams.query", _measure_questions, "interval", loads=2),
)
