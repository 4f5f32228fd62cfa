"""The ceiling: a Falcon ASGI application that returns constant bytes, in the same server with the same settings.

`python -m perf.bare` serves on a free port and prints it as JSON. GET / returns a constant; POST / reads its body and
returns a constant. A service on this framework and this server, as they come, cannot be faster than that.
Other forms, each with less around the constant, on the service's own protocol class in place of uvicorn's:

    python -m perf.bare own       the Falcon application
    python -m perf.bare asgi      an ASGI application without a framework
    python -m perf.bare prepared  the same, and from the third request on the protocol alone: the short way
"""

import gc
import json
import socket
import sys
from functools import partial
from typing import Any

import falcon.asgi
import uvicorn

from api.connection.connections import ConnectionLimits, Connections
from api.connection.protocol import HttpProtocol
from api.http.exchange import Message, Receive, Scope, Send
from api.operation.systemd import passed_sockets
from api.server import uvicorn_config
from perf.settings import settings

GET_ANSWER = b'{"min":149.8,"max":152.0,"last":151.9,"avg":150.93,"var":0.5201}'
POST_ANSWER = b'{"status":"success","added":10,"total":1000000,"durability":"interval"}'


class Bare:
    """Answers with the same bytes every time."""

    async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer at once."""
        resp.data = GET_ANSWER

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer once the body is read."""
        await req.stream.read()
        resp.data = POST_ANSWER


class Asgi:
    """The same without Falcon; where it has a name for it, it leaves itself as the question of each request."""

    caller = None
    question = ""
    kept_bytes = 0
    offset: int | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer once the body is read."""
        message: Message = {"more_body": scope["method"] == "POST"}
        while message["more_body"]:
            message = await receive()
        answer = self.answer(b"x" if scope["method"] == "POST" else b"", None)
        if self.question:
            scope[self.question] = self
        headers = [(b"content-length", b"%d" % len(answer)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def answer(self, body: bytes, _client: object, _offset: int | None = None) -> bytes:
        """Answer a prepared request."""
        return POST_ANSWER if body else GET_ANSWER


def _prepared() -> tuple[Any, object]:
    from api.http.prepared import QUESTION  # noqa: PLC0415 - the gate uses this module on revisions that have none

    watch, app = Connections(ConnectionLimits()), Asgi()
    app.question = QUESTION
    watch.prepared.prepare = lambda _scope: app
    return app, partial(HttpProtocol, watch=watch)


def _form(name: str) -> tuple[Any, object]:
    """Return application and protocol of the form of that name."""
    if name == "prepared":
        return _prepared()
    if name == "uvicorn":
        return create_app(), "httptools"
    return Asgi() if name == "asgi" else create_app(), partial(HttpProtocol, watch=Connections(ConnectionLimits()))


def create_app() -> Any:  # noqa: ANN401 - Falcon's types do not say that an app takes a scope
    """Return the bare application."""
    app = falcon.asgi.App()
    app.add_route("/", Bare())
    return app


def main() -> int:
    """Serve until SIGTERM."""
    app, http = _form((*sys.argv[1:], "uvicorn")[0])
    config = uvicorn_config(settings().server, app, http)
    passed = passed_sockets()
    with passed[0] if passed else socket.create_server(("127.0.0.1", 0), backlog=config.backlog) as listener:
        print(json.dumps({"event": "serving", "port": listener.getsockname()[1]}), flush=True)
        gc.collect()
        gc.freeze()  # as the service does
        uvicorn.Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
