"""The pure-Python tree behind FastAPI: `python -m perf.peers.tree_service DIRECTORY`; prints "serving PORT"."""

import socket
import sys
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf.peers.adapters.python_tree import LoggedTree
from perf.peers.packages import load


@dataclass
class Batch:
    """The body of POST /add_batch/."""

    symbol: str
    values: list[float]


def create_app(directory: Path) -> Any:  # noqa: ANN401 - FastAPI is not known to the type checker
    """Return the application: a tree for each symbol."""
    fastapi = load("fastapi", "fastapi")
    trees: dict[str, LoggedTree] = {}

    def tree_of(symbol: str) -> LoggedTree:
        if symbol not in trees:
            home = directory / symbol
            home.mkdir(exist_ok=True)
            trees[symbol] = LoggedTree(home)
        return trees[symbol]

    for stored in directory.iterdir():
        if stored.is_dir():
            tree_of(stored.name)

    async def add_batch(batch: Batch) -> dict[str, object]:
        tree_of(batch.symbol).append(array("d", batch.values))
        return {"status": "success", "added": len(batch.values)}

    async def stats(symbol: str, window: int) -> dict[str, float]:
        return tree_of(symbol).query(window)._asdict()

    app = fastapi.FastAPI()
    app.post("/add_batch/")(add_batch)
    app.get("/stats/")(stats)
    return app


def main() -> None:
    """Serve on a free port until SIGTERM."""
    uvicorn = load("uvicorn", "uvicorn")
    app = create_app(Path(sys.argv[1]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"serving {listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
