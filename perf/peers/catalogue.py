"""The stores that are compared, in the order in which they are measured."""

import importlib
from dataclasses import dataclass

from perf.peers.peer import Peer


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an adapter is, and how it is measured.

    project: it runs in the project's environment, the others in .venv-peers, both with one interpreter. most_points:
    what it is given at most, and why no more.
    """

    name: str
    module: str
    adapter: str
    project: bool = False
    most_points: int | None = None
    most_points_why: str = ""


_REBUILT = (
    "a restart builds the tree again from the file, one to two minutes for 1e8 points after as long for appending "
    "them, and it takes some 8 GB of memory; the time of a query grows with the logarithm only"
)
_SCANNED = "a query goes over the list in Lua, which takes more than a minute for 1e8 points, and all of it blocks"

ENTRIES = (
    Entry("hft-mmap", "ours", "Library", project=True),
    Entry("hft-mmap-sync", "ours", "LibrarySync", project=True),
    Entry("hft-mmap-http", "ours", "Service", project=True),
    Entry("numpy", "numpy_rescan", "NumpyRescan"),
    Entry("polars", "polars_ipc", "PolarsIpc"),
    Entry("pandas", "pandas_hdf", "PandasHdf"),
    Entry("duckdb", "duckdb_table", "DuckDbTable"),
    Entry("chdb", "chdb_mergetree", "ChDbMergeTree"),
    Entry("arcticdb", "arctic", "Arctic"),
    Entry("redis", "redis_list", "RedisList", most_points=10_000_000, most_points_why=_SCANNED),
    Entry("sqlite", "sqlite_table", "SqliteTable"),
    Entry("postgresql", "postgres", "Postgres"),
    Entry("python-tree", "python_tree", "PythonTree", most_points=10_000_000, most_points_why=_REBUILT),
    Entry("python-moments", "python_moments", "PythonMoments", most_points=10_000_000, most_points_why=_REBUILT),
    Entry("python-tree-http", "python_tree", "PythonTreeService", most_points=10_000_000, most_points_why=_REBUILT),
)
NAMES = tuple(entry.name for entry in ENTRIES)


def entry_of(name: str) -> Entry:
    """Return the entry of that name; KeyError if there is none."""
    return {entry.name: entry for entry in ENTRIES}[name]


def make(name: str) -> Peer:
    """Return a new adapter, not opened yet."""
    entry = entry_of(name)
    module = importlib.import_module(f"perf.peers.adapters.{entry.module}")
    peer = getattr(module, entry.adapter)()
    assert isinstance(peer, Peer)
    return peer
