"""The ceiling: a Falcon ASGI application that returns constant bytes, in the same server with the same settings.

`python -m perf.bare` serves on a free port and prints it as JSON. GET / returns a constant; POST / reads its body and
returns a constant. A service on this framework and this server, as they come, cannot be faster than that.
`python -m perf.bare own` runs it on the service's own protocol class in place of uvicorn's.
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


def create_app() -> Any:  # noqa: ANN401 - Falcon's types do not say that an app takes a scope
    """Return the bare application."""
    app = falcon.asgi.App()
    app.add_route("/", Bare())
    return app


def main() -> int:
    """Serve until SIGTERM."""
    http: object = (
        partial(HttpProtocol, watch=Connections(ConnectionLimits())) if "own" in sys.argv[1:] else "httptools"
    )
    config = uvicorn_config(settings().server, create_app(), http)
    passed = passed_sockets()
    with passed[0] if passed else socket.create_server(("127.0.0.1", 0), backlog=config.backlog) as listener:
        print(json.dumps({"event": "serving", "port": listener.getsockname()[1]}), flush=True)
        gc.collect()
        gc.freeze()  # as the service does
        uvicorn.Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
