"""Does the gate do what it says? `python -m perf.proof`: half an hour, on the machine whose verdict is to be trusted.

Runs the whole gate on two copies of the same code, which must raise no alarm, and on a copy in which one guarded case
was made a fifth slower, which must be caught. Exit code 0 if all of that holds.
"""

import argparse
import sys
from pathlib import Path

from perf import catalogue, gate, revision
from perf.duel import Side
from perf.lab import Lab
from perf.verdict import Answer

SHARE = 0.20

# What is appended to a module: the method takes a fifth longer than it did, by the clock.
_SLOWER = """

from functools import wraps as _wraps
from time import perf_counter as _clock


def _slowed(call):
    @_wraps(call)
    def slow(*args, **kwargs):
        begin = _clock()
        found = call(*args, **kwargs)
        end = begin + (1 + {share}) * (_clock() - begin)
        while _clock() < end:
            pass
        return found

    return slow


{owner}.{method} = _slowed({owner}.{method})
"""

INJECTIONS = {
    "store.append[points=1e4]": ("hft_mmap/series.py", "Series", "append_nowait"),
    "decode.batch[values=1e4]": ("api/decode.py", "Decoder", "quick"),
    "store.open[stored=10]": ("hft_mmap/store.py", "Store", "__init__"),
}
"""Guarded cases that one call dominates, and that call."""


def inject(directory: Path, module: str, owner: str, method: str) -> None:
    """Make one method in a copy of the packages slower by SHARE."""
    with (directory / module).open("a", encoding="utf-8") as source:
        source.write(_SLOWER.format(share=SHARE, owner=owner, method=method))


def alarms(lab: Lab, case: str | None, *, threshold: float, rounds: int) -> list[str]:
    """Return the cases that the gate calls slower, between two copies of the present code; `case` is slowed in one."""
    names = list(INJECTIONS) if case else [one.name for one in catalogue.everything() if one.guarded]
    with lab.scratch() as scratch:
        sides = [Side(name, revision.lay_out_present(scratch / name)) for name in (gate.BEFORE, gate.AFTER)]
        if case is not None:
            inject(sides[1].directory, *INJECTIONS[case])
        verdicts, _ = gate.compare(sides, names, threshold=threshold, rounds=rounds)
    return [one.case for one in verdicts if one.answer is Answer.SLOWER]


def main() -> int:
    """Run the proof; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.proof", description="Try the gate on itself.")
    parser.add_argument("--runs", type=int, default=10, help="runs of identical code (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=gate.ROUNDS)
    parser.add_argument("--threshold", type=float, default=0.10)
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="cases to make slower")
    args = parser.parse_args()
    slowed = [case for case in INJECTIONS if catalogue.matches(case, args.only)]
    lab = Lab()
    faults = 0
    for number in range(args.runs):
        found = alarms(lab, None, threshold=args.threshold, rounds=args.rounds)
        faults += bool(found)
        print(f"identical code, run {number + 1}: {', '.join(found) or 'no alarm'}", flush=True)
    for case in slowed:
        found = alarms(lab, case, threshold=args.threshold, rounds=args.rounds)
        faults += case not in found
        print(
            f"{case} slower by {SHARE:.0%}: {'caught' if case in found else 'MISSED'} ({', '.join(found)})", flush=True
        )
    print(f"proof: {faults} faults in {args.runs + len(slowed)} runs")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
