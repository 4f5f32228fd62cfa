"""Symbols, and the directory names that they are kept under."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hft_mmap import InvalidSymbol
from hft_mmap.files.names import MAX_SYMBOL_BYTES, directory_name, symbol_of, validate_symbol

SYMBOLS = (
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=64)
    .map(lambda text: text.encode()[:MAX_SYMBOL_BYTES].decode(errors="ignore"))
    .filter(bool)
)


@given(SYMBOLS)
@example(".")
@example("..")
@example("...")
@example(".lock")
@example(".making-1")
@example("EUR/USD")
@example("日本円-USD")
@example("BRK.B")
@example("a%2Fb")
@example("%")
@example("\\")
@example(" ")
@example("x" * 64)
@example("円" * 21 + "x")
@example("🙂" * 16)
def test_a_symbol_and_its_directory_belong_together(symbol: str) -> None:
    """Any symbol is found again from its directory's name, which is one plain file name that hides nothing."""
    assert validate_symbol(symbol) == symbol
    name = directory_name(symbol)
    assert symbol_of(name) == symbol
    assert "/" not in name
    assert not name.startswith(".")
    assert name.isascii()
    assert len(name) <= 3 * MAX_SYMBOL_BYTES


@given(SYMBOLS, SYMBOLS)
@example("é", "é")
@example("a", "A")
@example(".", "%2E")
def test_two_symbols_have_two_directories(a: str, b: str) -> None:
    """Different symbols never share a directory: not by case, not by Unicode form, not by percent signs."""
    assert (directory_name(a) == directory_name(b)) == (a == b)


@given(st.text(max_size=200))
@example(".lock")
@example(".making-0123")
@example("a.b%")
@example("%41")
@example("%2f")
@example("%2E.")
@example("%FF")
@example("")
def test_a_directory_that_no_symbol_has_is_no_series(name: str) -> None:
    """Only the one name that a symbol's directory has leads back to it; every other name is left alone."""
    symbol = symbol_of(name)
    assert symbol is None or directory_name(symbol) == name


@pytest.mark.parametrize(
    ("symbol", "reason"),
    [
        ("", "empty"),
        ("x" * 65, "65 bytes"),
        ("円" * 22, "66 bytes"),
        ("x" * 1_000_000, "1000000 bytes"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("\x7f", "control character"),
        ("\x85", "control character"),
        ("a\u2028b", "control character"),
        ("a\u2029b", "control character"),
        ("\ud800", "control character"),
        (b"ABC", "not bytes"),
        (None, "not NoneType"),
        (7, "not int"),
    ],
)
def test_what_is_no_symbol_is_refused_with_the_reason(symbol: object, reason: str) -> None:
    """Empty, longer than 64 bytes of UTF-8, with a control character or lone surrogate, or no text: InvalidSymbol."""
    with pytest.raises(InvalidSymbol, match=reason) as refusal:
        validate_symbol(symbol)
    assert len(str(refusal.value)) < 300
    assert str(refusal.value).encode()


@given(st.text(min_size=1, max_size=70))
def test_the_rule_is_the_documented_one(text: str) -> None:
    """A text is a symbol exactly when it has 1 to 64 bytes of UTF-8 and no control character."""
    has_control = any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text)
    good = not has_control and len(text.encode()) <= MAX_SYMBOL_BYTES
    try:
        accepted = validate_symbol(text) == text
    except InvalidSymbol:
        accepted = False
    assert accepted == good
