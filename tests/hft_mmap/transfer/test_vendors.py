"""Files as vendors ship them, with and without a surprise: stored right, or refused with the option that helps."""

from pathlib import Path

import pytest

from hft_mmap import HftMmapError, Store
from hft_mmap.transfer import Plan, import_files
from tests.hft_mmap.transfer.files import LIMITS, bring, scratch
from tests.hft_mmap.transfer.surprises import surprises
from tests.hft_mmap.transfer.vendors import Case, plain_shapes

PLAIN = [*plain_shapes(0, "\n"), *plain_shapes(1, "\r\n")]
SURPRISES = list(surprises(7))


def options_of(case: Case) -> dict[str, object]:
    """Return the options of a case, with a series for its prices where nothing else names one."""
    named = {"symbol", "symbol_column", "columns"} & case.options.keys()
    return {**case.options, "symbol": case.options.get("symbol", None if named else "A")}


def imported(case: Case, options: dict[str, object], directory: Path) -> dict[str, list[float]]:
    """Import the files of a case into a new store, and return what it holds then."""
    for name, content in case.files.items():
        path = directory / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    given = [directory / "files" / name for name in case.files]
    with scratch() as place, Store(f"{place}/data", limits=LIMITS, durability="process") as store:
        try:
            import_files(Plan([str(path) for path in given], **options), None)  # type: ignore[arg-type]
            bring(store, *given, **options)  # type: ignore[arg-type]
        finally:
            found = {name: store.window(name, 10**6).tolist() for name in store}
    return found


def test_there_are_as_many_files_as_the_figure_says() -> None:
    """120 at least, half of them with a surprise."""
    assert len(PLAIN) >= 60
    assert len(SURPRISES) >= 60
    names = [case.name for case in PLAIN + SURPRISES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_what_vendors_ship_is_stored_right(case: Case, tmp_path: Path) -> None:
    """With the options of the table in docs/import-export.md, every price, in order, in its series."""
    assert imported(case, options_of(case), tmp_path) == case.series


@pytest.mark.parametrize("case", SURPRISES, ids=lambda case: case.name)
def test_a_surprise_is_stored_right_or_refused_with_the_option_that_helps(case: Case, tmp_path: Path) -> None:
    """And with that option the file is stored right; nothing of it is stored before."""
    options = options_of(case)
    if case.refusal is None:
        assert imported(case, options, tmp_path) == case.series
        return
    with pytest.raises(HftMmapError) as refusal:
        imported(case, options, tmp_path)
    assert case.refusal in str(refusal.value)
    if case.series is not None:
        assert imported(case, options | case.then, tmp_path) == case.series
