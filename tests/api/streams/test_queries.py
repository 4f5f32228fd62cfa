"""Questions on one connection: each line is answered as GET /stats answers it, in its order."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from api.access.tokens import READ, WRITE, add
from api.streams.queries import MAX_QUESTIONS, MAX_QUESTIONS_BYTES
from tests.api.streams.client import ending, opened, said
from tests.conftest import StartService
from tests.service import PATIENCE_S, Service, running_service

QUESTIONS = [
    "symbol=A", "symbol=A&window=3", "symbol=A&exponent=1", "symbol=A&from=1&to=3",
    "symbol=A&window=2&stats=std,argmax",
    "symbol=A&symbol=EUR/USD&window=2", "symbol=T&window=5m", "symbol=T&window=2&stats=vwap,rv",
    "symbol=N%C3%A4me&window=1",
    "symbol=NONE&window=1", "symbol=A&window=0", "symbol=A&window=1&window=2", "window=1", "", "symbol=A&from=0&to=99",
    "symbol=A&window=5m", "symbol=%FF", "symbol=A&stats=nothing", "?", "symbol=A&window=3",
]  # fmt: skip


@pytest.fixture(scope="module")
def asked(shared_service: Service) -> Service:
    """Return a service with a few series."""
    shared_service.add("A", [1.0, 5.0, 2.0, 4.0])
    shared_service.add("EUR/USD", [1.05, 1.15])
    shared_service.add("Näme", [7.0])
    body = {"symbol": "T", "values": [1.0, 2.0], "times": [0, 60], "sizes": [1, 3], "time_unit": "s"}
    assert shared_service.client.post("/add_batch", json=body).status_code == 200
    return shared_service


@contextmanager
def asking(service: Service) -> Iterator[ClientConnection]:
    """Yield a client that may ask, once the service has said hello."""
    with opened(service, mode="query") as client:
        assert said(client) == {"event": "hello", "mode": "query"}
        yield client


def answers(client: ClientConnection) -> list[str]:
    """Return the lines of the next message."""
    message = client.recv(PATIENCE_S)
    assert isinstance(message, str)
    return message.split("\n")


def test_every_question_is_answered_as_over_http(asked: Service) -> None:
    """Answers and problems alike, to the letter, alone, together, and again where they are remembered."""
    expected = [asked.client.get(f"/stats?{question}").text for question in QUESTIONS]
    assert len({json.loads(text).get("status") for text in expected}) > 3
    with asking(asked) as client:
        for _ in range(2):
            client.send("\n".join(QUESTIONS))
            assert answers(client) == expected
        for question in QUESTIONS:
            client.send(f"{question}\n" if question else "\n")
        assert [answers(client) for _ in QUESTIONS] == [[one] for one in expected]


def test_an_answer_has_what_was_added_before(asked: Service) -> None:
    """By the same connection's questions, one after the other, or by anybody."""
    with asking(asked) as client:
        for k in range(20):
            asked.add("MOVES", [float(k)])
            client.send("symbol=MOVES&window=1")
            assert json.loads(answers(client)[0])["last"] == k


@pytest.mark.parametrize(
    ("message", "part"),
    [
        (b"symbol=A", "Questions are text"),
        ("\n" * (MAX_QUESTIONS + 1), f"1001 questions; a message has at most {MAX_QUESTIONS:,}"),
    ],
)
def test_a_message_that_is_none_ends_the_stream(asked: Service, message: str | bytes, part: str) -> None:
    """What was asked before it is answered."""
    with asking(asked) as client:
        client.send("symbol=A&window=3")
        client.send(message)
        assert json.loads(answers(client)[0])["max"] == 5.0
        (error,), code = ending(client)
    assert (error["event"], error["status"], code) == ("error", 400, 4400)
    assert part in error["detail"]


def test_a_message_that_is_too_long(asked: Service) -> None:
    """Ends the stream with its head."""
    with asking(asked) as client:
        client.send("x" * (MAX_QUESTIONS_BYTES + 1))
        assert ending(client) == ([], 1009)


def test_most_questions_at_once(asked: Service) -> None:
    """As many as a message may have, with others waiting behind it."""
    with asking(asked) as client:
        for _ in range(3):
            client.send("\n".join(["symbol=A&window=3"] * MAX_QUESTIONS))
        for _ in range(3):
            assert {json.loads(one)["max"] for one in answers(client)} == {5.0}


def test_a_handshake_takes_the_mode_alone(asked: Service) -> None:
    """What is asked stands in messages."""
    answer = asked.client.get("/stream?mode=query&symbol=A")
    assert (answer.status_code, answer.json()["detail"]) == (400, "Unknown parameter 'symbol'; known are mode")


def test_a_stop_ends_it(start_service: StartService) -> None:
    """Whoever waits for a question is told at once."""
    service = start_service()
    with asking(service) as client:
        assert service.stop() == 0
        assert ending(client) == ([], 1001)
    (line,) = service.events("stream")
    assert (line["mode"], line["code"], line["answered"]) == ("query", 1001, 0)


def test_who_may_ask(tmp_path: Path) -> None:
    """Each question is held against the patterns of the token; whose token is revoked asks no more."""
    tokens = tmp_path / "tokens"
    sent = {name: add(tokens, name, [scope]) for name, scope in {"w": WRITE, "all": READ, "es": "read:ES.*"}.items()}
    with running_service(tmp_path, auth__tokens_file=str(tokens)) as service:
        url = f"ws://127.0.0.1:{service.port}/stream?mode=query"

        def open_as(name: str) -> ClientConnection:
            return connect(url, additional_headers={"Authorization": f"Bearer {sent[name]}"}, open_timeout=PATIENCE_S)

        headers = {"Authorization": f"Bearer {sent['w']}"}
        for symbol in ("ES.A", "NQ.A"):
            body = {"symbol": symbol, "values": [1.0]}
            assert service.client.post("/add_batch", json=body, headers=headers).status_code == 200
        assert service.client.get("/stream?mode=query", headers=headers).status_code == 426
        questions = (
            "symbol=ES.A&window=1\nsymbol=NQ.A&window=1\nsymbol=ES.A&symbol=NQ.A&window=1\nsymbol=NQ.NONE&window=1"
        )
        with open_as("all") as client:
            assert said(client)["event"] == "hello"
            client.send(questions)
            assert ["status" in json.loads(one) for one in answers(client)] == [False, False, False, True]
        with open_as("es") as client:
            assert said(client)["event"] == "hello"
            for _ in range(2):
                client.send(questions)
                assert [json.loads(one).get("status") for one in answers(client)] == [None, 403, 403, 403]
            tokens.write_text("")
            service.process.send_signal(signal.SIGHUP)
            service.wait_for_event("reloaded", what="tokens")
            client.send("symbol=ES.A&window=1")
            (error,), code = ending(client)
            assert (error["status"], code) == (401, 4401)
