"""The compiled kernels alone: validate, summarise, fold; on arrays, with no files and no locks but for the fold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from hft_mmap.files.chunk import Chunk
from hft_mmap.files.head import Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.names import directory_name
from hft_mmap.files.view import View
from hft_mmap.stats import STANDARD_WINDOWS
from hft_mmap.tree.fold import fold_window, fold_windows
from hft_mmap.tree.kernels import FAN_OUT, NODE_FIELDS, VALID, find_invalid, summarise_nodes, summarise_values
from perf.case import Case, Prepare, TimeFunction, Work, name, simple, timed
from perf.lab import SYMBOL, Lab
from perf.prices import random_walk

SIZES = (10, 1_000, 1_000_000)


def _validate(points: int) -> Prepare:
    def build() -> Callable[[], object]:
        values = random_walk(points)
        assert find_invalid(values) == VALID
        return lambda: find_invalid(values)

    return simple(build)


def _summarise_values(points: int) -> Prepare:
    def build() -> Callable[[], object]:
        values = random_walk(points)
        out = np.empty((points // FAN_OUT, NODE_FIELDS))
        address = values.ctypes.data

        # The array is an argument of the operation so that it lives as long as its address is used.
        def run(_alive: object = values) -> None:
            summarise_values(address, 0, out)

        return run

    return simple(build)


def _summarise_nodes(nodes: int) -> Prepare:
    def build() -> Callable[[], object]:
        values = random_walk(nodes * FAN_OUT)
        children = np.empty((nodes, NODE_FIELDS))
        summarise_values(values.ctypes.data, 0, children)
        out = np.empty((nodes // FAN_OUT, NODE_FIELDS))
        address = children.ctypes.data

        def run(_alive: object = children) -> None:
            summarise_nodes(address, FAN_OUT, FAN_OUT, 0, out)

        return run

    return simple(build)


def _view(lab: Lab, stored: int) -> View:
    """Return all chunks of the series, mapped, without a store."""
    directory = lab.stored(stored) / directory_name(SYMBOL)
    head = Head(directory, writable=False)
    layout = Layout.of(head.identity.chunk_points)
    view = View.empty(layout, 0)
    while view.end < stored:
        view = view.extended(Chunk(directory, head.identity.series_id, view.end, layout))
    head.close()
    return view


def _fold(stored: int, window: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        view = _view(lab, stored)
        table, roots = view.table, view.roots
        yield timed(lambda: fold_window(table, roots, stored - window, stored))

    return prepare


def _fold_all(stored: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        view = _view(lab, stored)
        windows = np.array(STANDARD_WINDOWS, dtype=np.int64)
        out = np.empty((len(windows), 5))
        yield timed(lambda: fold_windows(view.table, view.roots, 0, stored, windows, out))

    return prepare


def cases() -> list[Case]:
    """Return the cases of this suite."""
    found = [
        Case(name("kernels", "validate", points=n), _validate(n), Work(n, "points"), guarded=n == 1_000) for n in SIZES
    ]
    for n in (FAN_OUT, 1_000_000):
        made = Case(name("kernels", "summarise_values", points=n), _summarise_values(n), Work(n, "points"), n > FAN_OUT)
        found.append(made)
    n = FAN_OUT**2
    found.append(Case(name("kernels", "summarise_nodes", nodes=n), _summarise_nodes(n), Work(n, "nodes")))
    found += [
        Case(name("kernels", "fold", stored=10**8, window=window), _fold(10**8, window), Work(1, "windows"))
        for window in STANDARD_WINDOWS
    ]
    found.append(Case(name("kernels", "fold_all", stored=10**8), _fold_all(10**8), Work(8, "windows")))
    return found
