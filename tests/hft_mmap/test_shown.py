"""How a store and a series show themselves in a notebook."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from hft_mmap import Limits, Store


def html(shown: object) -> ET.Element:
    """Return what a notebook would show, which is well-formed, so nothing in it stands for more than it is."""
    text = shown._repr_html_()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return ET.fromstring(text)  # noqa: S314 - our own


def cells(shown: object) -> list[list[str]]:
    """Return the text of each cell."""
    return [["".join(cell.itertext()) for cell in row] for row in html(shown).iter("tr")]


def test_a_series_shows_its_windows(tmp_path: Path) -> None:
    """Up to the first that holds all points."""
    with Store(tmp_path / "data") as store:
        store.append("A", [float(value) for value in range(1, 13)])
        assert cells(store.series("A")) == [
            ["newest points", "min", "max", "last", "avg", "std"],
            ["10", "3", "12", "12", "7.5", "2.87228"],
            ["12", "1", "12", "12", "6.5", "3.45205"],
        ]
        assert [len(html(store.series("A")).findall(f".//{name}")) for name in ("svg", "polygon")] == [1, 1]


@pytest.mark.parametrize(
    "prices", [[0.0], [1e140], [5.0] * 1000, [0.0, 1e140], [1e-300, 2e-300], [float(k % 7) for k in range(5000)]]
)
def test_a_picture_stays_in_its_frame(tmp_path: Path, prices: list[float]) -> None:
    """Whatever the prices are."""
    with Store(tmp_path / "data") as store:
        store.append("A", prices)
        picture = html(store.series("A")).find(".//svg")
        assert picture is not None
        for shape in picture:
            for point in shape.attrib["points"].split():
                x, y = map(float, point.split(","))
                assert 0 <= x <= 240
                assert 0 <= y <= 48


def test_a_store_shows_its_first_symbols(tmp_path: Path) -> None:
    """And says how many others there are; a symbol is text, whatever it looks like."""
    with Store(tmp_path / "data", limits=Limits(max_symbols=30, starting_capacity=0)) as store:
        assert cells(store) == [["symbol", "points", "last", ""]]
        names = ["<svg onload=alert(1)>", *(f"S{k:02d}" for k in range(24))]
        for name in names:
            store.append(name, [1.5, 2.5])
        found = cells(store)
        assert [row[0] for row in found[1:]] == names[:20]
        assert found[1][1:3] == ["2", "2.5"]
        assert len(html(store).findall(".//svg")) == 20
        assert "and 5 other symbols" in "".join(html(store).itertext())


def test_what_cannot_be_shown_is_left_to_its_text(tmp_path: Path) -> None:
    """A series that was removed: None, which has a notebook take the text. A store that is closed says so."""
    store = Store(tmp_path / "data")
    store.append("A", [1.0])
    series = store.series("A")
    store.remove("A")
    assert series._repr_html_() is None
    store.close()
    assert "closed" in "".join(html(store).itertext())
