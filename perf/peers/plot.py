"""Query latency against window as a PNG, log axes: `python -m perf.peers.plot RESULTS.json OUT.png`, in .venv-peers."""

import sys
from pathlib import Path

from perf.peers.packages import load
from perf.peers.results import Run


def draw(run: Run, target: Path) -> None:
    """Draw a line for each store: ours thick and with p95 as a shade, extrapolation dotted."""
    load("matplotlib", "matplotlib").use("Agg")
    plt = load("matplotlib.pyplot", "matplotlib")
    figure, axes = plt.subplots(figsize=(11, 7), dpi=110)
    colours = plt.get_cmap("tab20").colors
    for place, peer in enumerate(peer for peer in run.peers if peer.windows and peer.facts):
        ours = peer.facts is not None and peer.facts.ours
        colour = colours[place % len(colours)]
        windows = [found.window for found in peer.windows]
        medians = [found.median_s for found in peer.windows]
        late = [found.p95_s for found in peer.windows]
        axes.plot(
            windows,
            medians,
            label=peer.title,
            color=colour,
            linewidth=3 if ours else 1.4,
            marker="o",
            markersize=5 if ours else 3,
        )
        if ours:
            axes.fill_between(windows, medians, late, color=colour, alpha=0.25, linewidth=0)
        expected = peer.extrapolated_s(run.points)
        if expected is not None:
            axes.plot([windows[-1], run.points], [medians[-1], expected], color=colour, linewidth=1.2, linestyle=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("window: the newest points")
    axes.set_ylabel("seconds a query (median; ours shaded up to p95; dotted: extrapolated)")
    axes.set_title(
        f"Window statistics over {run.points:,} prices, {run.environment.get('env_cores', '?')} cores, {run.date[:10]}"
    )
    axes.grid(visible=True, which="major", alpha=0.4)
    axes.legend(loc="upper left", fontsize=8, ncols=2)
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    draw(Run.load(Path(sys.argv[1])), Path(sys.argv[2]))
