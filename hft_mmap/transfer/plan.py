"""What to import, and what about its numbers is no price."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

import numpy as np

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.formats import speakable
from hft_mmap.transfer.look import Look
from hft_mmap.transfer.rows import shown
from hft_mmap.transfer.wanted import Beside, Wanted

FIXED_POINT = 1e9
"""Databento's prices are integers, 1e-9 of the currency each, unless they were asked for as decimals."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What is known about the files of a vendor. no_price: what stands there for "none".

    fixed_point: prices that are written as whole numbers are to be divided by that, others are not. tz: of times since
    midnight.
    """

    no_price: tuple[str, ...]
    divide_by: float | None = None
    header: bool | None = None
    fixed_point: float | None = None
    bought: tuple[str, ...] = ()
    sold: tuple[str, ...] = ()
    tz: str | None = None


PRESETS = {
    # lobsterdata.com: CSV without header, prices times 10,000; an empty level of the book is ±9999999999. The side is
    # that of the order in the book, which a trade of the other side meets. Times are seconds since midnight.
    "lobster": Preset(
        ("9999999999", "-9999999999"),
        divide_by=10_000,
        header=False,
        bought=("-1",),
        sold=("1",),
        tz="America/New_York",
    ),
    # databento.com: UNDEF_PRICE is 2**63 - 1, an empty cell where decimals were asked for, NaN in a data frame.
    "databento": Preset(("9223372036854775807", "9223372036.854775807", "", "null", "nan"), fixed_point=FIXED_POINT),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to import.

    files: paths, patterns, folders, archives, or "-" for standard input. symbol: the series; None: each row goes to the
    series that its `symbol_column` names, or each of `columns` to its own. Both: only the rows whose `symbol_column` is
    `symbol`. columns: pairs of a column and its symbol, in place of `column`. format None: by the names.
    reverse: each file has its newest row first, and is turned round; False: whatever its times say, it is not; None: a
    file that has is refused. mixed: a file that names several symbols may go to one series, in place of being refused.
    by_time: files are taken in the order of their first times; False: as they are given; None: they are refused where
    these differ. append_new: take only what lies behind the newest stored points.
    max_price: a price above it is a bad row. no_price: cells, as they are written, that say that there is none: such
    rows are left out. divide_by: what prices are divided by. preset: a vendor of PRESETS.
    delimiter, header, decimal, thousands, encoding None: as the files show; skip_rows, comment: lines left out.
    sheet: of workbooks; None: the only one that has rows.
    time_columns: what says when, one column, or a date and a time; none: what is found. time, size, side False: nothing
    of it is stored. time_format: as strptime has it; time_unit: of numbers since 1970; tz: the zone of times that say
    none; day: times are seconds, or of `time_unit`, since its midnight there. size_column, side_column: sizes, and who
    wanted the trade; bought, sold: the cells that mean it.
    """

    files: Sequence[str]
    symbol: str | None = None
    column: str | None = None
    symbol_column: str | None = None
    format: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    skip_bad: bool = False
    reverse: bool | None = None
    mixed: bool = False
    columns: tuple[tuple[str, str], ...] = ()
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    skip_rows: int = 0
    comment: str | None = None
    max_price: float | None = None
    no_price: tuple[str, ...] = ()
    divide_by: float | None = None
    preset: str | None = None
    by_time: bool | None = None
    append_new: bool = False
    sheet: str | None = None
    time_columns: tuple[str, ...] = ()
    time: bool = True
    time_format: str | None = None
    time_unit: str | None = None
    tz: str | None = None
    day: date | None = None
    size_column: str | None = None
    size: bool = True
    side_column: str | None = None
    side: bool = True
    bought: tuple[str, ...] = ()
    sold: tuple[str, ...] = ()

    @property
    def asked_beside(self) -> tuple[str, ...]:
        """Which columns beside the prices were asked for by name."""
        times = ("times",) if self.time_columns or self.time_format or self.time_unit or self.tz or self.day else ()
        return (*times, "sizes") if self.size_column or self.side_column else times

    def beside(self) -> Beside:
        """Return what readers have to know of times and sizes."""
        preset = PRESETS[self.preset] if self.preset else None
        bought, sold = self.bought, self.sold
        if preset is not None and not (bought or sold):
            bought, sold = preset.bought, preset.sold
        zone = preset.tz if self.tz is None and self.day is not None and preset is not None else self.tz
        return Beside(
            self.time_columns, self.time, self.time_format, self.time_unit, zone, self.day, self.size_column,
            self.size, self.side_column, self.side, bought, sold,
        )  # fmt: skip

    def wanted(self) -> Wanted:
        """Return what readers have to know."""
        names = tuple(name for name, _ in self.columns) or (() if self.column is None else (self.column,))
        preset = PRESETS[self.preset] if self.preset else None
        header = preset.header if self.header is None and preset is not None else self.header
        return Wanted(
            columns=names, targets=tuple(symbol for _, symbol in self.columns), symbol_column=self.symbol_column,
            delimiter=self.delimiter, header=header, reverse=self.reverse, mixed=self.mixed, decimal=self.decimal,
            thousands=self.thousands, encoding=self.encoding, skip_rows=self.skip_rows, comment=self.comment,
            sheet=self.sheet, beside=self.beside(),
        )  # fmt: skip

    def identity(self, target: str) -> dict[str, object]:
        """Return what makes this import the same as an earlier one: which files go to which series.

        How cells are read is no part of it: who was told of an option by a bad row goes on with it. Points that were
        stored by other options show in their values, which are compared.
        """
        paths = [file if file == "-" else speakable(str(Path(file).resolve())) for file in self.files]
        whole: dict[str, object] = {
            "target": speakable(target), "files": paths, "symbol": self.symbol, "column": self.column,
            "symbol_column": self.symbol_column, "format": self.format, "delimiter": self.delimiter,
            "header": self.header is not False,
        }  # fmt: skip
        # Named only where they matter, so that an import of an earlier release can be resumed.
        if self.columns:
            whole["columns"] = self.columns
        if self.append_new:
            whole["append_new"] = True
        if self.sheet is not None:
            whole["sheet"] = self.sheet
        return whole


class Prices:
    """What becomes of the numbers in one file: which are no price, what they are divided by, how large they may be."""

    def __init__(self, plan: Plan, look: Look) -> None:
        """Take what the plan says, and of its preset what the look decides; UnreadableFile where that can't."""
        preset = PRESETS[plan.preset] if plan.preset else None
        cells = (*plan.no_price, *(preset.no_price if preset else ()))
        self.texts = frozenset(text for cell in cells for text in (cell, shown(cell)))
        numbers = [number for cell in cells if (number := _float(cell)) is not None]
        self.absent = np.array([number for number in numbers if not math.isnan(number)], dtype=np.float64)
        self.nan_is_absent = any(map(math.isnan, numbers))
        self.divide_by = plan.divide_by
        self.most = plan.max_price
        if self.divide_by is None and preset is not None:
            self.divide_by = preset.divide_by
            if preset.fixed_point is not None:
                if look.whole_numbers is None:
                    raise UnreadableFile(
                        f"{look.file}: does not show whether its prices are whole numbers of a fixed scale: "
                        f"--divide-by {preset.fixed_point:.0f} says so, --divide-by 1 that they are not"
                    )
                self.divide_by = preset.fixed_point if look.whole_numbers else None

    @property
    def changes_nothing(self) -> bool:
        """Whether rows stay as they are."""
        return not self.texts and self.divide_by is None


def _float(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def plan_with(plan: Plan, answers: Mapping[str, object]) -> Plan:
    """Return a plan with some fields set."""
    known = {field.name: getattr(plan, field.name) for field in fields(plan)}
    return Plan(**(known | dict(answers)))
