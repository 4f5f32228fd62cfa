"""The floor of a POST: a socket that reads as many bytes as a request has and answers, with no HTTP in between.

`python -m perf.sink BYTES` serves on a free port and prints it as JSON. What a request takes here is the kernel's: its
bytes through loopback into memory that is there already, two wake-ups, and an answer.
"""

import json
import signal
import socket
import sys

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{"status":"success"}'


def serve(connection: socket.socket, request: memoryview) -> None:
    """Answer each time that `request` is full, until the client has gone."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    left = request
    while size := connection.recv_into(left):
        left = left[size:]
        if not left:
            connection.sendall(ANSWER)
            left = request


def main() -> int:
    """Serve one client after the other, until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    request = memoryview(bytearray(int(sys.argv[1])))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(json.dumps({"event": "serving", "port": listener.getsockname()[1]}), flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                serve(connection, request)


if __name__ == "__main__":
    sys.exit(main())
