"""Times and sizes of files: how they are found and read, what is asked, what is left out, and the way back."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hft_mmap import Late, Limits, Store
from hft_mmap.transfer import (
    BadRow,
    Doubtful,
    ImportConflict,
    Plan,
    StoreSink,
    UnreadableFile,
    UnwritableFile,
    export_span,
    exporting,
    import_files,
    preview,
)
from hft_mmap.transfer.clock import ISO, Clock, ns_of_arrow, ns_of_cells
from hft_mmap.transfer.plan import plan_with
from tests.hft_mmap.transfer.files import LIMITS, PRICES, bring, scratch, text_file
from tests.hft_mmap.transfer.test_importing import stop_after
from tests.hft_mmap.transfer.vendors import workbook

NS = 10**9
BEGIN = datetime(2026, 3, 9, 14, 30, 5, tzinfo=UTC)
BEGIN_NS = int(BEGIN.timestamp()) * NS


JUNE = date(2012, 6, 21)
JUNE_NS = 1_340_285_400 * NS
"""Half past nine in New York, on that day."""


def ns(moment: datetime) -> int:
    """Return a moment as nanoseconds since 1970."""
    return int(moment.timestamp()) * NS + moment.microsecond * 1000


def as_csv(path: Path, *times: str, column: str = "time", delimiter: str = ",") -> Path:
    """Write a CSV with a price beside each time."""
    rows = "".join(f"{time}{delimiter}{price}.5\n" for price, time in enumerate(times))
    return text_file(path / "a.csv", f"{column}{delimiter}price\n{rows}")


def times_of(store: Store, symbol: str = "A") -> list[int]:
    """Return the times that are stored."""
    times = store.ticks(symbol, 10**6).times
    assert times is not None
    found: list[int] = times.tolist()
    return found


def sizes_of(store: Store, symbol: str = "A") -> list[float]:
    """Return the sizes that are stored."""
    sizes = store.ticks(symbol, 10**6).sizes
    assert sizes is not None
    found: list[float] = sizes.tolist()
    return found


# -- how times are written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "options", "expected"),
    [
        ("2026-03-09T14:30:05Z", {}, BEGIN_NS),
        ("2026-03-09 14:30:05.123456789Z", {}, BEGIN_NS + 123_456_789),
        ("2026-03-09T15:30:05+01:00", {}, BEGIN_NS),
        ("2026-03-09 14:30:05 UTC", {}, BEGIN_NS),
        ("2026-03-09 14:30:05", {"tz": "UTC"}, BEGIN_NS),
        ("2026-03-09 10:30:05.25", {"tz": "America/New_York"}, BEGIN_NS + NS // 4),
        ("2026-03-09 09:30:05", {"tz": "-05:00"}, BEGIN_NS),
        ("2026-03-09", {}, ns(datetime(2026, 3, 9, tzinfo=UTC))),
        ("2026-03-09", {"tz": "+01:00"}, ns(datetime(2026, 3, 8, 23, tzinfo=UTC))),
        ("20260309", {}, ns(datetime(2026, 3, 9, tzinfo=UTC))),
        ("20260309 093005", {"tz": "-05:00"}, BEGIN_NS),
        ("20260309 093005007", {"tz": "-05:00"}, BEGIN_NS + 7_000_000),
        ("30.03.2026 14:30:05.5", {"tz": "UTC"}, ns(datetime(2026, 3, 30, 14, 30, 5, 500_000, tzinfo=UTC))),
        ('"Mar 09, 2026"', {}, ns(datetime(2026, 3, 9, tzinfo=UTC))),
        ("09/03/2026 02:30:05 PM", {"tz": "UTC", "time_format": "%d/%m/%Y %I:%M:%S %p"}, BEGIN_NS),
        ("9-March-26 14h30", {"tz": "UTC", "time_format": "%d-%B-%y %Hh%M"}, BEGIN_NS - 5 * NS),
        (str(BEGIN_NS // NS), {}, BEGIN_NS),
        (str(BEGIN_NS // 10**6), {}, BEGIN_NS),
        (str(BEGIN_NS // 10**3), {}, BEGIN_NS),
        (str(BEGIN_NS + 1), {}, BEGIN_NS + 1),
        (f"{BEGIN_NS // NS}.000000001", {}, BEGIN_NS + 1),
        (f"{BEGIN_NS // 10**6}.5", {}, BEGIN_NS + 500_000),
        ("12", {"time_unit": "s"}, 12 * NS),
        ("-1.5", {"time_unit": "ms"}, -1_500_000),
        ("34200.017459617", {"day": JUNE, "tz": "America/New_York"}, JUNE_NS + 17_459_617),
        ("34200", {"day": JUNE, "tz": "America/New_York"}, JUNE_NS),
        ("48600.5", {"day": JUNE, "tz": "UTC"}, JUNE_NS + NS // 2),
        ("34200017.5", {"day": JUNE, "tz": "-04:00", "time_unit": "ms"}, JUNE_NS + 17_500_000),
        ("0", {"day": JUNE, "tz": "+02:00"}, JUNE_NS - (13 * 60 + 30 + 120) * 60 * NS),
        ("86399.999999999", {"day": JUNE, "tz": "UTC"}, JUNE_NS + (10 * 60 + 30) * 60 * NS - 1),
    ],
)  # fmt: skip
def test_a_time_is_stored_to_the_nanosecond(
    store: Store, tmp_path: Path, cell: str, options: dict[str, Any], expected: int
) -> None:
    """Whatever its style, in a block that parses at once and in one that does not."""
    bring(store, as_csv(tmp_path, cell, cell), **options)
    assert times_of(store) == [expected] * 2
    path = text_file(tmp_path / "b.csv", f"time,price\n{cell},1.5\n{cell},x\n{cell},2.5\n")
    report = bring(store, path, symbol="B", skip_bad=True, **options)
    assert (times_of(store, "B"), report.progress.skipped) == ([expected] * 2, 1)


@pytest.mark.parametrize(
    ("cells", "text", "then"),
    [
        (("2026-03-09 14:30",), "say no time zone: --tz names it", {"tz": "UTC"}),
        (("01/02/2026", "03/04/2026"), "--time-format says which", {"time_format": "%d/%m/%Y"}),
        (("1", "2"), "--time-unit says it", {"time_unit": "s"}),
        (("09:00", "09:01"), "is read as no time", {"time": False}),
        (("tomorrow", "today"), "is read as no time", {"time": False}),
        (("", ""), "is read as no time", {"time": False}),
    ],
)
def test_what_is_not_certain_of_times_is_asked(
    store: Store, tmp_path: Path, cells: tuple[str, ...], text: str, then: dict[str, Any]
) -> None:
    """Nothing is stored before; each choice that is offered sets an option, and --no-time is always one."""
    path = as_csv(tmp_path, *cells)
    with pytest.raises(Doubtful, match=text) as doubtful:
        bring(store, path)
    choices = doubtful.value.doubts[0].choices
    assert ("time", False) in [(choice.field, choice.value) for choice in choices]
    assert store.symbols() == []
    bring(store, path, **then)
    assert store.window("A", 10).tolist() == [place + 0.5 for place in range(len(cells))]
    for choice in choices:
        assert not any(
            one.look.doubts for one in preview(plan_with(Plan([str(path)], "A"), {choice.field: choice.value}))
        )


@pytest.mark.parametrize(
    ("cells", "options", "found"),
    [
        (["2026-03-09T14:30:05Z", "2026-03-09T14:30:06"], {}, "has no time zone"),
        (["2026-03-09T14:30:05Z", "2026-02-30T14:30:06Z"], {}, "is no time as in the other rows"),
        (["2026-03-09T14:30:05Z", "2026-03-09T24:30:06Z"], {}, "is no time as in the other rows"),
        (["2026-03-09T14:30:05Z", "2026-03-09T14:30:05.1234567891Z"], {}, "is no time as in the other rows"),
        (["2026-03-09T14:30:05Z", "2600-03-09T14:30:05Z"], {}, "is no time from 1677 to 2262"),
        (["2026-03-09", "2026-03-09 09:00"], {}, "has a time of day, where the first rows are days alone"),
        (["2026-03-07 02:30", "2026-03-08 02:30"], {"tz": "America/New_York"}, "or there are two of it"),
        (["2026-10-31 01:30", "2026-11-01 01:30"], {"tz": "America/New_York"}, "or there are two of it"),
        (["1767225600", "1767225600000"], {}, "--time-unit says the unit"),
        (["1767225600", "Total"], {}, "is no time as in the other rows"),
        (["09-Mar-2026", "10-Foo-2026"], {}, "is no time as in the other rows"),
        (
            ["34200.5", "86400.0"],
            {"day": JUNE, "tz": "UTC"},
            "is no time of one day (s since midnight of 2012-06-21, UTC)",
        ),
        (["34200", "-1"], {"day": JUNE, "tz": "UTC"}, "is no time of one day"),
        (["34200.5", "34200.0000000001"], {"day": JUNE, "tz": "UTC"}, "is no time as in the other rows"),
        (["7199", "7200"], {"day": date(2026, 3, 8), "tz": "America/New_York"}, "or there are two of it"),
    ],
)
def test_a_row_with_another_time_is_a_bad_row(
    store: Store, tmp_path: Path, cells: list[str], options: dict[str, Any], found: str
) -> None:
    """With its place; it is skipped where bad rows are. No time is guessed."""
    first, wrong = cells
    path = as_csv(tmp_path, *[first] * 1_200, wrong, first)
    with pytest.raises(BadRow, match="row 1201: ") as bad:
        bring(store, path, **options)
    assert found in str(bad.value)
    assert store.symbols() == []
    report = bring(store, path, skip_bad=True, **options)
    assert (report.progress.stored, report.progress.skipped) == (1_201, 1)


@pytest.mark.parametrize("kind", [pa.float64(), pa.decimal128(18, 9), pa.string(), pa.int64()], ids=str)
def test_times_since_midnight_come_from_tables(store: Store, tmp_path: Path, kind: pa.DataType) -> None:
    """Whatever type their column has, but for types that say the day themselves."""
    seconds = ["34200.017459617", "34200.25"] if kind != pa.int64() else ["34200", "34201"]
    if kind in {pa.float64(), pa.int64()}:
        cells: Any = pa.array([float(text) for text in seconds]).cast(kind)
    else:
        cells = pa.array(seconds).cast(kind)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"time": cells, "price": [1.5, 2.5]}), path)
    bring(store, path, day=JUNE, tz="America/New_York")
    expected = [17_459_617, NS // 4] if kind != pa.int64() else [0, NS]
    assert [time - JUNE_NS for time in times_of(store)] == expected


@pytest.mark.parametrize(
    ("cells", "options", "text"),
    [
        (["34200.5"], {}, "say no time zone: --tz names it"),
        (
            ["09:30:00"],
            {"tz": "UTC"},
            "'09:30:00' in time is no time of one day, in s since midnight: leave out --date",
        ),
        (["34200000"], {"tz": "UTC"}, "'34200000' in time is no time of one day, in s since midnight"),
        (["2012-06-21"], {"tz": "UTC"}, "is no time of one day"),
        ([""], {"tz": "UTC"}, "is no time of one day"),
    ],
)
def test_what_is_not_certain_of_times_since_midnight_is_asked(
    store: Store, tmp_path: Path, cells: list[str], options: dict[str, Any], text: str
) -> None:
    """The zone, what is no number, a number of another unit; nothing is stored before."""
    with pytest.raises(Doubtful, match=text):
        bring(store, as_csv(tmp_path, *cells), day=JUNE, **options)
    with pytest.raises(Doubtful, match="no column says when: --time-column names it"):
        bring(store, text_file(tmp_path / "b.csv", "price\n1.5\n"), day=JUNE, **options)
    assert store.symbols() == []


def test_a_day_beside_times_that_say_it_is_refused(store: Store, tmp_path: Path) -> None:
    """Timestamps of a table, and records of NumPy."""
    table = pa.table({"time": pa.array([1, 2], pa.timestamp("s", "UTC")), "price": [1.5, 2.5]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(Doubtful, match="the times in time say their day themselves: leave out --date"):
        bring(store, tmp_path / "a.parquet", day=JUNE)
    np.save(tmp_path / "a.npy", np.array([(1, 1.5)], dtype=[("time", "i8"), ("price", "f8")]))
    with pytest.raises(UnreadableFile, match="--date is of text and tables"):
        bring(store, tmp_path / "a.npy", day=JUNE)


def test_a_preset_knows_the_zone_of_its_vendor(store: Store, tmp_path: Path) -> None:
    """Where nobody says another; the side of a message is that of the order in the book."""
    path = text_file(tmp_path / "a.csv", "34200.017459617,5,0,1,2238200,-1\n34200.25,1,1184,7,2239600,1\n")
    options: dict[str, Any] = {"preset": "lobster", "day": JUNE, "time_columns": ("1",), "column": "5"}
    bring(store, path, size_column="4", side_column="6", **options)
    assert (store.window("A", 2).tolist(), sizes_of(store)) == ([223.82, 223.96], [1.0, -7.0])
    assert [time - JUNE_NS for time in times_of(store)] == [17_459_617, NS // 4]
    bring(store, path, symbol="B", tz="UTC", **options)
    assert times_of(store, "B")[1] == JUNE_NS - 4 * 3600 * NS + NS // 4


@given(
    local=st.datetimes(datetime(1995, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001 - of the zone
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
)
@settings(max_examples=60, deadline=None)
def test_a_zone_is_that_of_python(local: datetime, zone: str) -> None:
    """For every moment that it has once."""
    both = [local.replace(tzinfo=ZoneInfo(zone), fold=fold) for fold in (0, 1)]
    with scratch() as directory, Store(f"{directory}/data", limits=LIMITS, durability="process") as store:
        path = as_csv(Path(directory), local.isoformat(" ", "microseconds"))
        if both[0].utcoffset() != both[1].utcoffset():
            with pytest.raises(BadRow):
                bring(store, path, tz=zone)
            return
        bring(store, path, tz=zone)
        since = both[0].astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        assert times_of(store) == [since // timedelta(microseconds=1) * 1000]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("{n},1.5\n{m},2.5\n", {"column": "2", "header": False}, "may say when"),
        ("3000000007,1.5,{n}000\n3000000008,2.5,{m}000\n", {"column": "2", "header": False}, "these columns say when"),
        ("deal,price\n{n},1.5\n{m},2.5\n", {}, "may say when"),
        ("created,updated,price\n{d},{d},1.5\n{d},{d},2.5\n", {}, "these columns say when"),
        ("{n}000,1.5\n{m}000,2.5\n", {"column": "2", "header": False}, None),
        ("created,price\n{d},1.5\n{d},2.5\n", {}, None),
        ("price,turnover\n1.5,{m}\n2.5,{n}\n1.5,{m}\n", {"column": "price"}, ()),
        ("price,size\n1.5,{n}\n2.5,{m}\n", {}, ("sizes",)),
    ],
)
def test_a_column_without_a_name_is_one_of_times_where_that_is_certain(
    store: Store, tmp_path: Path, text: str, options: dict[str, Any], expected: str | tuple[str, ...] | None
) -> None:
    """Numbers may be names of trades, or amounts: nobody's guess is stored as a time."""
    cells = text.format(n=BEGIN_NS // NS, m=BEGIN_NS // NS + 1, d="2026-03-09T14:30:05Z")
    path = text_file(tmp_path / "a.csv", cells)
    if isinstance(expected, str):
        with pytest.raises(Doubtful, match=expected) as doubtful:
            bring(store, path, **options)
        choices = doubtful.value.doubts[0].choices
        assert [choice.field for choice in choices] == ["time_columns"] * (len(choices) - 1) + ["time"]
        answer: dict[str, Any] = {choices[0].field: choices[0].value}
        bring(store, path, **options, **answer)
        assert store.series("A").columns == ("times",)
        return
    bring(store, path, **options)
    assert store.series("A").columns == (("times",) if expected is None else expected)


FORMS = [
    "%Y.%m.%d %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%y %I:%M:%S %p", "%Y%m%d %H%M%S%f", "%d-%b-%Y %H:%M:%S.%f",
    "%B %d, %Y", "%d.%m.%Y",
]  # fmt: skip

ODD = [
    "2026.02.29 10:00:00", "31/04/2026 10:00", "12/31/26 13:00:00 PM", "20260101 240000000", "1-Foo-2026 10:00:00.5",
    "01-Sept-2026 10:00:00.1234567891", "May 01, 2026 UTC", "10000.01.01 00:00:00", " 01.02.2026 ", "00.00.2026", "",
]  # fmt: skip


@given(
    form=st.sampled_from(FORMS),
    moments=st.lists(st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)), max_size=8),  # noqa: DTZ001 - of the zone
    odd=st.lists(st.sampled_from(ODD), max_size=2),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_many_times_at_once_are_read_as_one_after_the_other(form: str, moments: list[datetime], odd: list[str]) -> None:
    """Whatever is among them."""
    cells = [moment.strftime(form) for moment in moments] + odd
    clock = Clock(form, zone="-03:30")
    times, faults = ns_of_arrow(clock, pa.array(cells, pa.string()))
    one_by_one, their_faults = ns_of_cells(clock, list(cells))
    assert faults == their_faults
    assert [time for place, time in enumerate(times.tolist()) if place not in faults] == [
        time for place, time in enumerate(one_by_one.tolist()) if place not in faults
    ]


def test_a_date_and_a_time_may_stand_in_two_columns(store: Store, tmp_path: Path) -> None:
    """Found by their names, or named."""
    path = text_file(
        tmp_path / "a.csv", "<DATE>\t<TIME>\tprice\n2026.03.09\t14:30:05\t1.5\n2026.03.09\t14:30:06\t2.5\n"
    )
    bring(store, path, tz="UTC")
    bare = text_file(
        tmp_path / "b.csv", "09.03.2026;14:30:05,25;1,5\n10.03.2026;14:30:05,25;2,5\n30.03.2026;14:30:06,0;3,5\n"
    )
    form: dict[str, Any] = {"time_format": "%d.%m.%Y %H:%M:%S,%f", "tz": "UTC"}
    bring(store, bare, symbol="B", column="3", header=False, time_columns=("1", "2"), **form)
    assert times_of(store) == [BEGIN_NS, BEGIN_NS + NS]
    assert times_of(store, "B")[0] == BEGIN_NS + NS // 4


# -- other formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", None])
def test_typed_times_are_stored_as_they_are(
    store: Store, tmp_path: Path, kind: str, unit: str, zone: str | None
) -> None:  # fmt: skip
    """Of any unit; those without a zone are asked about, and are of the one that is named."""
    counts = np.array([BEGIN_NS, BEGIN_NS + NS]) // {"s": NS, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    table = pa.table({"ts": pa.array(counts, pa.timestamp(unit, zone)), "price": [1.5, 2.5], "size": [1, -2]})
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    if zone is None:
        with pytest.raises(Doubtful, match="say no time zone"):
            bring(store, path)
        bring(store, path, tz="-01:00")
    else:
        bring(store, path)
    ahead = NS * 3600 if zone is None else 0
    assert [time - ahead for time in times_of(store)] == [BEGIN_NS, BEGIN_NS + NS]
    assert sizes_of(store) == [1.0, -2.0]


@pytest.mark.parametrize("name", ["a.ndjson", "a.json", "a.xlsx", "a.npy", "a.npz"])
def test_every_format_with_columns_has_times_and_sizes(store: Store, tmp_path: Path, name: str) -> None:
    """As text, as numbers, as NumPy's own."""
    seconds = [BEGIN_NS // NS, BEGIN_NS // NS + 1]
    rows = [{"time": time, "price": 1.5, "qty": -2.25} for time in seconds]
    path = tmp_path / name
    if name == "a.ndjson":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif name == "a.json":
        path.write_text(json.dumps([{**row, "time": str(datetime.fromtimestamp(row["time"], UTC))} for row in rows]))
    elif name == "a.xlsx":
        path.write_bytes(workbook({"A": [list(rows[0]), *(list(row.values()) for row in rows)]}))
    elif name == "a.npy":
        fields = [("time", "M8[s]"), ("price", "<f4"), ("qty", "<f8")]
        np.save(path, np.array([(time, 1.5, -2.25) for time in seconds], dtype=fields))
    else:
        np.savez(path, time=np.array(seconds, "M8[s]"), price=np.full(2, 1.5), qty=np.full(2, -2.25))
    bring(store, path)
    assert (times_of(store), sizes_of(store)) == ([BEGIN_NS, BEGIN_NS + NS], [-2.25, -2.25])
    assert store.window("A", 2).tolist() == [1.5, 1.5]
    (found,) = preview(Plan([str(path)], "A"))
    assert found.beside[0] == (BEGIN_NS, -2.25)


def test_arrays_of_an_archive_have_one_length(store: Store, tmp_path: Path) -> None:
    """Else nobody knows which time is of which price; and whole numbers have no unit of their own."""
    path = tmp_path / "a.npz"
    np.savez(path, time=np.array([1]), price=np.array([1.5, 2.5]))
    with pytest.raises(UnreadableFile, match="have one dimension and length"):
        bring(store, path)
    np.savez(path, time=np.array([1, 2]), price=np.array([1.5, 2.5]))
    with pytest.raises(Doubtful, match="--time-unit says the unit"):
        bring(store, path)
    bring(store, path, time_unit="s")
    assert times_of(store) == [NS, 2 * NS]


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "cells", "options", "expected"),
    [
        ("price,size", "7", {}, 7.0),
        ("price,Qty", "-7.5", {}, -7.5),
        ("price,volume", "7", {}, 7.0),
        ("price,lots", "7", {"size_column": "lots"}, 7.0),
        ("price,size,side", "7,SELL", {}, -7.0),
        ("price,size,side", "7, b", {}, 7.0),
        ("price,size,side", "7,N", {"side": False}, 7.0),
        ("price,size,maker", "7,True", {"side_column": "maker", "sold": ("true",), "bought": ("false",)}, -7.0),
        ("price,size,way", "7,-1", {"side_column": "way"}, -7.0),
    ],
)
def test_a_size_has_the_sign_of_its_side(
    store: Store, tmp_path: Path, header: str, cells: str, options: dict[str, Any], expected: float
) -> None:
    """Found by the names of columns, or named."""
    bring(store, text_file(tmp_path / "a.csv", f"{header}\n1.5,{cells}\n2.5,{cells}\n"), **options)
    assert sizes_of(store) == [expected] * 2
    assert store.series("A").columns == ("sizes",)


def test_the_volume_of_a_bar_is_no_size_unless_it_is_named(store: Store, tmp_path: Path) -> None:
    """It is of many trades."""
    path = text_file(tmp_path / "a.csv", "open,close,volume\n1,1.5,70\n2,2.5,80\n")
    bring(store, path, column="close")
    assert store.series("A").columns == ()
    bring(store, path, symbol="B", column="close", size_column="volume")
    assert sizes_of(store, "B") == [70.0, 80.0]


@pytest.mark.parametrize(
    ("header", "cells", "found"),
    [
        ("price,size", "x", "the size 'x' is no number"),
        ("price,size", "", "the size '' is no number"),
        ("price,size", "inf", "a size must be finite"),
        ("price,size", "1e141", "a size must be finite"),
        ("price,size,side", "-7,buy", "a size must be finite, and from 0"),
        ("price,size,side", "7,none", "the side 'none' is neither bought nor sold"),
    ],
)
def test_what_is_no_size_makes_a_bad_row(store: Store, tmp_path: Path, header: str, cells: str, found: str) -> None:
    """With its place."""
    good = "7,buy" if "side" in header else "7"
    path = text_file(tmp_path / "a.csv", f"{header}\n" + f"1.5,{good}\n" * 1_100 + f"1.5,{cells}\n1.5,{good}\n")
    with pytest.raises(BadRow, match="row 1101: ") as bad:
        bring(store, path)
    assert found in str(bad.value)
    assert bring(store, path, skip_bad=True).progress.stored == 1_101


def test_a_side_that_says_neither_is_asked_about(store: Store, tmp_path: Path) -> None:
    """In the first rows, before anything is stored."""
    path = text_file(tmp_path / "a.csv", "price,size,side\n1.5,7,buy\n2.5,8,?\n")
    with pytest.raises(Doubtful, match=r"'\?' in side says neither bought nor sold"):
        bring(store, path)
    bring(store, path, bought=("buy", "?"))
    assert sizes_of(store) == [7.0, 8.0]


# -- what a series has already ----------------------------------------------------------------------------------------

TICKS = "time,price,size\n" + "".join(f"{BEGIN_NS // NS + second},{second}.5,{second}\n" for second in range(12))


def test_a_series_of_prices_takes_prices_alone_and_says_so(store: Store, tmp_path: Path) -> None:
    """Also where nothing is certain of the times; what was asked for by name is refused."""
    store.append("A", [7.0])
    report = bring(store, text_file(tmp_path / "a.csv", TICKS))
    assert (report.progress.left_out, report.progress.columns) == ({"A": ("sizes", "times")}, ())
    assert store.window("A", 3).tolist() == [9.5, 10.5, 11.5]
    assert bring(store, as_csv(tmp_path, "01/02/2026")).progress.left_out == {"A": ("times",)}
    with pytest.raises(ImportConflict, match="so no times can be stored beside them"):
        bring(store, text_file(tmp_path / "a.csv", TICKS), time_columns=("time",))
    assert store.series("A").total == 14


def test_a_series_with_times_takes_no_prices_alone(store: Store, tmp_path: Path) -> None:
    """The text names the option; what it has not is left out."""
    store.append("A", [7.0], times=[1])
    with pytest.raises(ImportConflict, match="A has prices and times, and times are not found in the file"):
        bring(store, text_file(tmp_path / "b.csv", "price\n1.5\n"))
    report = bring(store, text_file(tmp_path / "a.csv", TICKS))
    assert (report.progress.left_out, store.series("A").columns) == ({"A": ("sizes",)}, ("times",))


def test_each_series_of_a_file_gets_its_rows_with_all_that_they_have(store: Store, tmp_path: Path) -> None:
    """By a column of symbols, and by columns of prices."""
    rows = "".join(f"{BEGIN_NS // NS + place},{'AB'[place % 2]},{place}.5,{place}\n" for place in range(9))
    bring(store, text_file(tmp_path / "a.csv", "time,symbol,price,size\n" + rows), symbol=None, symbol_column="symbol")
    assert (sizes_of(store), sizes_of(store, "B")) == ([0, 2, 4, 6, 8], [1, 3, 5, 7])
    assert times_of(store, "B")[:2] == [BEGIN_NS + NS, BEGIN_NS + 3 * NS]
    both = "".join(f"{BEGIN_NS // NS + place},{place}.5,{place}.75\n" for place in range(9))
    columns = (("bid", "C"), ("ask", "D"))
    bring(store, text_file(tmp_path / "b.csv", "time,bid,ask\n" + both), symbol=None, columns=columns)
    assert times_of(store, "C") == times_of(store, "D") == [BEGIN_NS + place * NS for place in range(9)]
    assert store.window("D", 1).tolist() == [8.75]


def test_late_points_are_counted_or_refused(store: Store, tmp_path: Path) -> None:
    """By the setting; a refusal names the row of the file."""
    path = as_csv(tmp_path, *(f"{BEGIN_NS // NS + second}" for second in (0, 5, 3, 4, 6)))
    progress = bring(store, path).progress
    assert (progress.late, progress.latest_ns) == (2, 2 * NS)
    assert [(time - BEGIN_NS) // NS for time in times_of(store)] == [0, 5, 5, 5, 6]
    with Store(tmp_path / "other", limits=Limits(late=Late.REFUSE), durability="process") as other:
        with pytest.raises(UnreadableFile, match=r"row 3: its time lies before .* store.late to clamp"):
            bring(other, path)
        assert other.symbols() == []


def test_rows_turned_round_keep_what_they_have(store: Store, tmp_path: Path) -> None:
    """The newest row of the file comes last."""
    head, *rows = TICKS.splitlines()
    path = text_file(tmp_path / "a.csv", "\n".join([head, *reversed(rows)]))
    bring(store, path, reverse=True)
    assert sizes_of(store) == list(range(12))
    assert times_of(store) == [BEGIN_NS + second * NS for second in range(12)]


# -- each point once --------------------------------------------------------------------------------------------------


def test_an_import_that_was_stopped_goes_on_with_all_columns(store: Store, tmp_path: Path) -> None:
    """And other rows than those that are stored are noticed, whichever column differs."""
    count = 200_000
    times = BEGIN_NS + np.cumsum(np.arange(count) % 7)
    table = {"time": times, "price": np.arange(count) / 8, "size": np.arange(count) % 5 - 2.0}
    path = tmp_path / "a.csv"
    rows = zip(*(column.tolist() for column in table.values()), strict=True)
    path.write_text("time,price,size\n" + "".join(f"{time},{price},{size}\n" for time, price, size in rows))
    stop, tell = stop_after(4)
    stopped = import_files(Plan([str(path)], "A"), StoreSink(store), stop=stop, tell=tell)
    assert not stopped.complete
    stored = store.series("A").total
    assert 0 < stored < count
    changed = path.read_text().replace(f"{times[5]},{5 / 8},-2.0", f"{times[5]},{5 / 8},2.0", 1)
    other = text_file(tmp_path / "b.csv", changed)
    path.rename(tmp_path / "kept.csv")
    other.rename(path)
    with pytest.raises(ImportConflict, match="does not hold what the files say"):
        bring(store, path, resume=True)
    (tmp_path / "kept.csv").rename(path)
    report = bring(store, path, resume=True)
    assert (report.complete, report.progress.found, report.progress.stored) == (True, stored, count - stored)
    for found, expected in zip(store.ticks("A", count), (table["price"], times, table["size"]), strict=True):
        assert found is not None
        assert np.array_equal(found, expected)


def test_what_is_new_in_a_file_is_found_by_all_columns(store: Store, tmp_path: Path) -> None:
    """A price that stands still says nothing, and its times do."""
    rows = [f"{BEGIN_NS // NS + second},7.5\n" for second in range(30)]
    path = text_file(tmp_path / "a.csv", "time,price\n" + "".join(rows[:20]))
    bring(store, path)
    text_file(path, "time,price\n" + "".join(rows))
    report = bring(store, path, append_new=True)
    assert (report.progress.found, report.progress.stored) == (20, 10)
    assert times_of(store) == [BEGIN_NS + second * NS for second in range(30)]


# -- and back ---------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(PRICES, st.integers(0, 10**15), st.floats(-1e140, 1e140).map(lambda size: size + 0.0)),
    min_size=1, max_size=40,
)  # fmt: skip


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet", "a.arrow", "a.npz"])
@pytest.mark.parametrize("beside", [("times", "sizes"), ("times",), ("sizes",)])
@given(rows=STEPS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_export_and_import_give_the_same_bits(
    name: str, beside: tuple[str, ...], rows: list[tuple[float, int, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every column, over several pieces and chunks."""
    monkeypatch.setattr(exporting, "PIECE_POINTS", 7)
    prices, steps, sizes = (list(column) for column in zip(*rows * 4, strict=True))
    columns = {"times": BEGIN_NS + np.cumsum(steps), "sizes": sizes}
    with (
        scratch() as directory,
        Store(f"{directory}/data", limits=Limits(starting_capacity=0, chunk_points=64)) as store,
    ):
        store.append("A", prices, **{kind: columns[kind] for kind in beside})  # type: ignore[arg-type]
        path = Path(directory, name)
        export_span(store.series("A").span(), str(path))
        bring(store, path, symbol="B")
        mine, back = (store.ticks(symbol, 10**6) for symbol in "AB")
        assert mine.kinds == back.kinds
        assert mine.prices.tobytes() == back.prices.tobytes()
        assert [one.tobytes() for one in mine.columns] == [one.tobytes() for one in back.columns]


def test_others_read_what_was_exported(store: Store, tmp_path: Path) -> None:
    """Times are timestamps in UTC; a format of one column takes prices alone only where that is said."""
    store.append("A", [1.5, 2.5], times=[BEGIN_NS, BEGIN_NS + 1], sizes=[1, -2])
    span = store.series("A").span()
    for name in ("a.csv", "a.parquet", "a.npz"):
        export_span(span, str(tmp_path / name))
    assert (tmp_path / "a.csv").read_text().splitlines()[:2] == [
        '"time","price","size"', "2026-03-09 14:30:05.000000000Z,1.5,1",
    ]  # fmt: skip
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert [(field.name, str(field.type)) for field in schema] == [
        ("time", "timestamp[ns, tz=UTC]"), ("price", "double"), ("size", "double"),
    ]  # fmt: skip
    arrays = np.load(tmp_path / "a.npz")
    assert arrays["time"].astype(np.int64).tolist() == [BEGIN_NS, BEGIN_NS + 1]
    for name in ("a.npy", "a.f64"):
        with pytest.raises(UnwritableFile, match=r"has times and sizes, and .* has a place for prices alone"):
            export_span(span, str(tmp_path / name))
        assert not (tmp_path / name).exists()
        export_span(span, str(tmp_path / name), prices_only=True)
    assert np.load(tmp_path / "a.npy").tolist() == [1.5, 2.5]


def test_a_datetime_of_a_workbook_is_a_time() -> None:
    """With its zone, or of the one that is named; a day alone is midnight in UTC."""
    zoned = [BEGIN, BEGIN.astimezone(timezone(timedelta(hours=1)))]
    assert ns_of_cells(Clock(ISO), zoned)[0].tolist() == [BEGIN_NS, BEGIN_NS]
    naive = BEGIN.replace(tzinfo=None)
    assert ns_of_cells(Clock(ISO, zone="-01:00"), [naive])[0].tolist() == [BEGIN_NS + 3600 * NS]
    assert list(ns_of_cells(Clock(ISO), [naive, None])[1]) == [0, 1]
