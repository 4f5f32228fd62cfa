"""Exporting: what is in the series is in the file, whole or not at all, and comes back the same."""

import gzip
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hft_mmap import Limits, Store
from hft_mmap.transfer import UnreadableFile, UnwritableFile, export_span, exporting
from tests.hft_mmap.transfer.files import PRICES, bits, bring, scratch
from tests.service import PATIENCE_S

NAMES = ["a.csv", "a.csv.gz", "a.csv.zst", "a.parquet", "a.arrow", "a.npy", "a.npy.gz", "a.npz", "a.f64", "a.f64.zst"]
VALUES = [1.5, 150.1, 0.0, 1e140, 5e-324, 1 / 3]


@pytest.fixture
def filled(store: Store) -> Store:
    """Return a store with a few points of A."""
    store.append("A", VALUES)
    return store


@pytest.mark.parametrize("name", NAMES)
@given(values=st.lists(PRICES, min_size=1, max_size=40), last=st.integers(1, 50))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_export_and_import_give_the_same_bits(
    name: str, values: list[float], last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through every format, over several pieces and chunks."""
    monkeypatch.setattr(exporting, "PIECE_POINTS", 7)
    limits = Limits(starting_capacity=0, chunk_points=64)
    with scratch() as directory, Store(f"{directory}/data", limits=limits) as store:
        store.append("A", [2.0] * 50)
        store.append("A", values)
        path = Path(directory, name)
        export_span(store.series("A").span(last=last), str(path))
        bring(store, path, symbol="B")
        assert bits(store.window("B", 100)) == bits(([2.0] * 50 + values)[-last:])


def test_others_read_what_was_exported(filled: Store, tmp_path: Path) -> None:
    """So do pandas and NumPy, from each format, to the last bit; the table says whose prices these are."""
    span = filled.series("A").span()
    for name in NAMES:
        export_span(span, str(tmp_path / name))
    csv = pd.read_csv(tmp_path / "a.csv")["price"]
    parquet = pd.read_parquet(tmp_path / "a.parquet")["price"]
    feather = pd.read_feather(tmp_path / "a.arrow")["price"]
    for found in (
        csv,
        parquet,
        feather,
        np.load(tmp_path / "a.npy"),
        np.load(tmp_path / "a.npz")["price"],
        np.fromfile(tmp_path / "a.f64"),
    ):
        assert bits(found) == bits(VALUES)
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == (tmp_path / "a.csv").read_bytes()
    assert zstd.decompress((tmp_path / "a.f64.zst").read_bytes()) == (tmp_path / "a.f64").read_bytes()
    notes = pa.parquet.read_schema(tmp_path / "a.parquet").metadata
    assert (notes[b"symbol"], notes[b"first"], notes[b"end"]) == (b"A", b"0", b"6")


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "npy", "npz", "f64"])
def test_standard_output_is_a_stream_of_the_format(
    filled: Store, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it has to be sought in."""

    class Pipe(io.BytesIO):
        """Bytes that can't be sought in."""

        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise OSError("a pipe")

        def tell(self) -> int:
            return len(self.getvalue())

        def close(self) -> None:
            """Stay open, as standard output does."""

    pipe = Pipe()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, write_through=True))
    export_span(filled.series("A").span(), "-", kind)
    monkeypatch.undo()
    path = tmp_path / f"a.{kind}"
    path.write_bytes(pipe.getvalue())
    bring(filled, path, symbol="B")
    assert bits(filled.window("B", 100)) == bits(VALUES)


def test_a_file_that_exists_is_replaced_once_the_new_one_is_complete(filled: Store, tmp_path: Path) -> None:
    """Until then it stays, and when the export fails for good; nothing else is left in the directory."""
    path = tmp_path / "out" / "a.f64"
    path.parent.mkdir()
    path.write_bytes(b"old")
    span = filled.series("A").span()

    class Broken(type(span)):  # type: ignore[misc]
        """A span whose second piece can't be read."""

        def cuts(self, _points: int) -> object:
            yield from [(0, 3)]
            assert path.read_bytes() == b"old"
            raise OSError(5, "Input/output error")

    fields = {name: getattr(span, name) for name in span.__slots__}
    with pytest.raises(UnwritableFile, match=r"a\.f64: Input/output error"):
        export_span(Broken(**fields), str(path))
    assert [entry.name for entry in path.parent.iterdir()] == ["a.f64"]
    assert path.read_bytes() == b"old"
    export_span(span, str(path))
    assert [entry.name for entry in path.parent.iterdir()] == ["a.f64"]
    assert path.read_bytes() == bits(VALUES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.parquet.gz", "parquet is not written compressed as a whole"),
        ("a.ndjson", "ndjson is only read; formats are csv"),
        ("no/such/place/a.csv", "No such file or directory"),
        ("a.csv/", "names a folder: give the name of the file in it"),
    ],
)
def test_what_can_not_be_written_is_refused(filled: Store, tmp_path: Path, name: str, message: str) -> None:
    """With the name, and nothing is left."""
    with pytest.raises(UnwritableFile, match=message):
        export_span(filled.series("A").span(), f"{tmp_path}/{name}")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnreadableFile, match="the name tells no format"):
        export_span(filled.series("A").span(), str(tmp_path / "a.doc"))


def test_the_points_are_those_of_the_moment_when_it_begins(store: Store, tmp_path: Path) -> None:
    """A cleanup meanwhile takes nothing away, an append adds nothing."""
    limits = Limits(max_data_retention=200, cleanup_keep_count=10, starting_capacity=0, chunk_points=64)
    with Store(tmp_path / "cleaned", limits=limits) as cleaned:
        cleaned.append("A", np.arange(150.0))
        span = cleaned.series("A").span()
        cleaned.append("A", np.arange(100.0))
        cleaned.sync()
        assert cleaned.series("A").start > 100
        export_span(span, str(tmp_path / "a.f64"))
    bring(store, tmp_path / "a.f64")
    assert store.window("A", 1000).tolist() == list(range(150))


def test_a_pipe_is_written_into(filled: Store, tmp_path: Path) -> None:
    """It stays a pipe, and whoever reads it gets the points; nothing is left beside it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_bytes)
        export_span(filled.series("A").span(), str(pipe), "f64")
        assert read.result(PATIENCE_S) == bits(VALUES)
        read = reader.submit(pipe.read_bytes)
        export_span(filled.series("A").span(), str(pipe), "arrow")
        assert pa.ipc.open_stream(read.result(PATIENCE_S)).read_all().column(0).to_pylist() == VALUES
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "npy", "npz", "f64"])
def test_a_device_is_written_into(filled: Store, tmp_path: Path, kind: str) -> None:
    """Whatever the format; a link to it stays a link."""
    link = tmp_path / "null"
    link.symlink_to(os.devnull)
    export_span(filled.series("A").span(), str(link), kind)
    assert link.is_symlink()
    assert link.is_char_device()


def test_of_a_link_the_file_that_it_leads_to_is_replaced(filled: Store, tmp_path: Path) -> None:
    """Also where there is no such file yet, and where the link is in another directory."""
    (tmp_path / "there").mkdir()
    link = tmp_path / "latest.f64"
    link.symlink_to("there/today.f64")
    for last in (2, 1):
        export_span(filled.series("A").span(last=last), str(link))
        assert link.is_symlink()
        assert (tmp_path / "there" / "today.f64").read_bytes() == bits(VALUES[-last:])
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["today.f64"]
