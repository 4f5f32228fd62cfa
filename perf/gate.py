"""The gate: is a guarded case slower than in another revision? `python -m perf.gate --against REF`.

    exit 0  no case is slower, or there is nothing to compare with
    exit 1  a case is slower: its name, both p95s and the percentage are printed
    exit 2  it could not be measured

Both revisions run under the present benchmarks, in turn, in fresh processes, on the same core; a case that looks slower
is measured again from the start, and only what is slower both times counts. Slower is: p95 worse by more than the
threshold, and significant, and above an absolute floor (perf.verdict).
"""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from time import monotonic

from perf import catalogue, revision
from perf.duel import DuelError, Side, fight, workers
from perf.lab import Lab
from perf.verdict import Answer, Verdict, judge

OK, SLOWER, NOT_MEASURED = 0, 1, 2
ROUNDS = 9
BEFORE, AFTER = "before", "after"

P95s = dict[str, list[tuple[float, float]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.gate", description="Compare guarded cases with a revision.")
    parser.add_argument("--against", required=True, metavar="REF", help="the revision to compare the working tree with")
    parser.add_argument(
        "--threshold", type=float, default=0.10, help="how much worse p95 may be (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="fresh pairs of processes (default: %(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="guarded cases to compare")
    args = parser.parse_args(arguments)
    commit = revision.resolve(args.against)
    if commit is None:
        print(f"gate: nothing to compare with: there is no revision {args.against} here")
        return OK
    if not revision.holds_packages(commit):
        print(f"gate: nothing to compare with: {args.against} does not hold {' and '.join(revision.PACKAGES)}")
        return OK
    cases = [one.name for one in catalogue.everything() if one.guarded and catalogue.matches(one.name, args.only)]
    with Lab().scratch() as scratch:
        sides = [
            Side(BEFORE, revision.lay_out(commit, scratch / BEFORE)),
            Side(AFTER, revision.lay_out_present(scratch / AFTER)),
        ]
        return compare(sides, cases, threshold=args.threshold, rounds=args.rounds)


def compare(sides: Sequence[Side], cases: Sequence[str], *, threshold: float, rounds: int) -> int:
    """Measure and judge `cases` on two sides, those that look slower twice; print the table, return the exit code."""
    begin = monotonic()
    try:
        warm(sides)
        first, missing = measure(sides, cases, rounds)
        verdicts = _judged(first, threshold)
        suspects = [one.case for one in verdicts if one.answer is Answer.SLOWER]
        if suspects:
            print(f"gate: measuring again: {', '.join(suspects)}", flush=True)
            again = {one.case: one for one in _judged(measure(sides, suspects, rounds)[0], threshold)}
            # What the second look says stands: the first one chose the case for being the worst.
            verdicts = [again.get(one.case, one) for one in verdicts]
    except DuelError as error:
        print(f"gate: could not measure: {error}")
        return NOT_MEASURED
    for verdict in verdicts:
        print(verdict.line())
    for case, reason in missing.items():
        print(f"{'new':7} {case:<48} not in the other revision: {reason}")
    slower = [one for one in verdicts if one.answer is Answer.SLOWER]
    print(f"gate: {len(verdicts)} cases compared in {monotonic() - begin:.0f} s, {len(slower)} slower")
    if not verdicts:
        return NOT_MEASURED
    return SLOWER if slower else OK


def warm(sides: Sequence[Side]) -> None:
    """Compile the kernels of every side, at the same time; nothing is measured yet."""
    with workers(sides, core=None):
        pass


def measure(sides: Sequence[Side], cases: Sequence[str], rounds: int) -> tuple[P95s, dict[str, str]]:
    """Return the p95s of each round of each case, and why a case could not be measured in the first of the sides."""
    found: P95s = defaultdict(list)
    missing: dict[str, str] = {}
    cores = sorted(os.sched_getaffinity(0))
    for number in range(rounds):
        left = [case for case in cases if case not in missing]
        while left:
            with workers(sides, core=cores[number % len(cores)]) as pair:
                try:
                    while left:
                        before, after = fight(pair, left[0], first=number % 2)
                        found[left.pop(0)].append((before, after))
                except DuelError as error:
                    if error.side != sides[0].name:
                        raise
                    # An older revision may not have what the case needs; a fresh pair goes on with the next.
                    missing[left.pop(0)] = str(error)
    return found, missing


def _judged(p95s: P95s, threshold: float) -> list[Verdict]:
    return [
        judge(case, [one for one, _ in pairs], [one for _, one in pairs], threshold=threshold)
        for case, pairs in p95s.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
