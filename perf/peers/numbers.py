"""Numbers as people read them: three digits, and a unit or a multiple."""

NOTHING = "-"


def seconds(value: float | None) -> str:
    """Return a duration with three digits and its unit."""
    if value is None:
        return NOTHING
    for least, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= least:
            return f"{digits(value / least)} {unit}"
    return f"{digits(value / 1e-9)} ns"


def count(value: float | None) -> str:
    """Return a number with three digits and its multiple."""
    if value is None:
        return NOTHING
    for least, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= least:
            return digits(value / least) + unit
    return digits(value)


def size(value: float | None) -> str:
    """Return a number of bytes."""
    return NOTHING if value is None else f"{count(value)}B" if value >= 1e3 else f"{value:.0f} B"


def error(value: float | None) -> str:
    """Return a relative error."""
    return NOTHING if value is None else f"{value:.1e}" if value else "0"


def factor(value: float) -> str:
    """Return a factor."""
    return f"{value:,.0f}x" if value >= 10 else f"{value:.1f}x"


def percent(share: float | None) -> str:
    """Return a share of 1."""
    return NOTHING if share is None else f"{100 * share:.0f} %"


def power(points: int) -> str:
    """Return "1e7" for 10,000,000, and what is no power of ten with its digits grouped."""
    digits = str(points)
    return f"1e{len(digits) - 1}" if digits.strip("0") == "1" and points >= 10 else f"{points:,}"


def digits(value: float) -> str:
    """Return a number with three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
