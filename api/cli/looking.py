"""`hft-mmap import --preview`: what an import would make of its files, and the questions that are left open."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from api.cli.console import EXIT_FAULTS, print_json, print_table

if TYPE_CHECKING:
    from hft_mmap.transfer import Doubt, Plan, Preview

_MAX_QUESTIONS = 20


def show_preview(plan: "Plan", *, as_json: bool, signed: bool) -> None:
    """Print what an import would make of its files; exit code 1 where something is not certain."""
    from hft_mmap.transfer import preview

    found = preview(plan, signed=signed)
    if as_json:
        print_json([_json(one) for one in found])
    else:
        for place, one in enumerate(found):
            if place:
                click.echo()
            _print(one)
    if any(one.look.doubts or one.fault for one in found):
        sys.exit(EXIT_FAULTS)


def _json(one: "Preview") -> dict[str, object]:
    look = asdict(one.look)
    look["numerals"] = None if one.look.numerals is None else one.look.numerals._asdict()
    look["doubts"] = [
        {"text": doubt.text, "options": [choice.option for choice in doubt.choices]} for doubt in one.look.doubts
    ]
    points = [
        {"row": row, "symbol": symbol, "price": price, "time": time, "size": size}
        for (row, symbol, price), (time, size) in zip(one.points, one.beside, strict=True)
    ]
    return look | {"points": points, "fault": one.fault}


def _print(one: "Preview") -> None:
    look = one.look
    times = " and ".join(look.times)
    if look.first_time is not None:
        between = look.first_time if look.first_time == look.last_time else f"{look.first_time} … {look.last_time}"
        times = f"{times}: {look.order or 'in no certain order'} ({between})"
    if times and look.clock is None:
        times = f"{times}; not stored"
    size = None if look.size is None else look.size if look.side is None else f"{look.size}, its sign by {look.side}"
    symbols = look.symbol or ("of the folder" if look.symbols else "")
    if look.symbols:
        more = ", …" if len(look.symbols) > 3 else ""  # noqa: PLR2004 - as many as fit
        symbols = f"{symbols}: {', '.join(look.symbols[:3])}{more}"
    header = {None: "", True: "the first row", False: "none"}[look.header]
    facts = {
        "format": " in ".join(filter(None, (look.format, look.compression))), "encoding": look.encoding,
        "delimiter": None if look.delimiter is None else repr(look.delimiter), "header": header,
        "columns": ", ".join(look.names), "numbers": None if look.numerals is None else str(look.numerals),
        "time": times, "stored as": look.clock, "symbol": symbols, "price": ", ".join(look.prices),
        "size": size,
    }  # fmt: skip
    click.echo(look.file)
    for name, fact in facts.items():
        if fact:
            click.echo(f"  {name:<10} {fact}")
    if one.points:
        _print_points(one)
    for doubt in look.doubts:
        click.echo(f"  not certain: {doubt.text}")
    if one.fault:
        click.echo(f"  would stop at: {one.fault}")


def _print_points(one: "Preview") -> None:
    """Print the first points as they would be stored."""
    time, size = one.beside[0]
    names = [name for name, there in (("time", time), ("size", size)) if there is not None]
    table = [["  row", "symbol", "price", *names]]
    for (row, symbol, price), (time, size) in zip(one.points, one.beside, strict=True):
        beside = [*([] if time is None else [utc(time)]), *([] if size is None else [repr(size)])]
        table.append([f"  {row}", symbol, repr(price), *beside])
    print_table(table)


def utc(time_ns: int) -> str:
    """Return nanoseconds since 1970 as a person reads them, in UTC."""
    whole, rest = divmod(time_ns, 10**9)
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=whole)).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{rest:09}".rstrip("0")
    return f"{text}{'.' if digits else ''}{digits}Z"


def settled(plan: "Plan") -> "Plan":
    """Return the plan with what a person at the terminal says where its files are not certain; elsewhere as it is.

    What nobody can be asked is refused by the import itself, with the options that decide it.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()) or "-" in plan.files:
        return plan
    from hft_mmap.transfer import preview
    from hft_mmap.transfer.plan import plan_with

    for _ in range(_MAX_QUESTIONS):
        open_ = [(one.look.file, doubt) for one in preview(plan, max_points=0) for doubt in one.look.doubts]
        asked = next(((file, doubt) for file, doubt in open_ if doubt.choices), None)
        if asked is None:
            return plan
        plan = plan_with(plan, _asked(*asked))
    return plan


def _asked(file: str, doubt: "Doubt") -> dict[str, object]:
    """Ask one question, and return the fields of the plan that the answer sets; Ctrl+C ends the command."""
    click.echo(f"{file}: {doubt.text}", err=True)
    for number, choice in enumerate(doubt.choices, 1):
        click.echo(f"  {number}  {choice.option}" + (f"  ({choice.meaning})" if choice.meaning else ""), err=True)
    number = click.prompt("Which one", type=click.IntRange(1, len(doubt.choices)), err=True)
    choice = doubt.choices[number - 1]
    return {choice.field: choice.value, **dict(choice.sets)}
