"""The experiments, one module for each thing that is tried out."""

from collections.abc import Sequence

from perf.experiment import Experiment
from perf.experiments import (
    accuracy,
    allocations,
    binary,
    calls,
    cold,
    cuts,
    dashboard,
    feeds,
    growth,
    importing,
    instances,
    latency,
    questions,
    restart,
    space,
    streams,
    sweep,
    symbols,
    throughput,
    watchlist,
)

EXPERIMENTS: Sequence[Experiment] = (
    *growth.EXPERIMENTS,
    *space.EXPERIMENTS,
    *cold.EXPERIMENTS,
    *allocations.EXPERIMENTS,
    *accuracy.EXPERIMENTS,
    *calls.EXPERIMENTS,
    *sweep.EXPERIMENTS,
    *throughput.EXPERIMENTS,
    *binary.EXPERIMENTS,
    *latency.EXPERIMENTS,
    *streams.EXPERIMENTS,
    *feeds.EXPERIMENTS,
    *questions.EXPERIMENTS,
    *importing.EXPERIMENTS,
    *instances.EXPERIMENTS,
    *restart.EXPERIMENTS,
    *cuts.EXPERIMENTS,
    *symbols.EXPERIMENTS,
    *dashboard.EXPERIMENTS,
    *watchlist.EXPERIMENTS,
)
"""In the order they are run in."""
