"""The command that makes groups: summaries of the path of what is stored."""

import sys
from pathlib import Path

import click

from api.cli.console import (
    CONFIG_OPTION,
    DATA_DIR_OPTION,
    EXIT_FAULTS,
    JSON_OPTION,
    counted,
    opened_store,
    print_json,
)


@click.command("summarise", short_help="Make summaries, so that statistics of long paths take microseconds.")
@click.argument("symbol", required=False)
@click.option(
    "--groups", default="returns,extremes,moments,trades", show_default=True,
    help="What to make, with commas: returns (for rv, volatility, path), extremes (drawdown, runup), "
    "moments (skew, kurtosis, slope, r2), trades (volume, signed_volume, vwap, twap, gap).",
)  # fmt: skip
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def summarise_command(
    symbol: str | None, groups: str, config_path: Path | None, data_dir: Path | None, *, as_json: bool
) -> None:  # fmt: skip
    """Make the groups of SYMBOL (or of every symbol): summaries beside its points, or bring them up to the newest.

    With them rv, drawdown, skew, vwap and their like take microseconds of any window, where they read every point
    else. No point is touched. It may run beside a service, which finds them at once; what is interrupted goes on where
    it was when it is run again. Some 8 ns a point, and 14 more for trades, which points with neither times nor sizes do
    not have. The setting store.groups keeps them up for the points that come. Exit code 1 if a file could not be made.

    \b
    Examples:
      hft-mmap summarise
      hft-mmap summarise ABC-USD --groups returns,moments
    """
    names = tuple(name.strip() for name in groups.split(",") if name.strip())
    if not names:
        raise click.BadParameter("name one group at least", param_hint="--groups")
    with opened_store(config_path, data_dir, mode="a") as store:
        try:
            reports = store.summarise(symbol, groups=names)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--groups") from None
        reasons = [] if symbol else [reason for reason in store.reasons() if reason.code == "set_aside"]
    left = any(report.left for report in reports)
    if as_json:
        print_json({"ok": not (left or reasons), "series": [report._asdict() for report in reports]})
    else:
        for report in reports:
            click.echo(f"{report.symbol}: {', '.join(report.groups) or 'nothing'} of {counted(report.points, 'point')}")
            if report.lacking:
                click.echo(f"  no {', '.join(report.lacking)}: the points have neither times nor sizes")
            for reason in report.left:
                click.echo(f"  not made: {reason}")
        for aside in reasons:
            click.echo(f"{aside.symbol}: not made: {aside.detail}", err=True)
    if left or reasons:
        sys.exit(EXIT_FAULTS)
