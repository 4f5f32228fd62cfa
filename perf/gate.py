"""The gate: is a guarded case slower than in another revision? `python -m perf.gate --against REF`.

    exit 0  no case is slower, or there is nothing to compare with
    exit 1  a case is slower: its name, both p95s and the percentage are printed
    exit 2  it could not be measured

Both revisions run under the present benchmarks, in turn, in fresh processes, on the same core. Slower is: p95 worse by
more than the threshold, and significant, and above an absolute floor (perf.verdict).

The first look is quick to suspect, and the second, at suspects only, decides: so a true change is seldom missed, and
fourteen cases that are each looked at on every commit do not raise fourteen times the alarms.
"""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from time import monotonic

from perf import catalogue, revision
from perf.duel import DuelError, Round, Side, fight, workers
from perf.lab import Lab
from perf.verdict import Answer, Verdict, judge

OK, SLOWER, NOT_MEASURED = 0, 1, 2
ROUNDS = 9
ROUNDS_AGAIN = 15
ALPHA_SUSPECT = 0.10
BEFORE, AFTER = "before", "after"

Rounds = dict[str, list[Round]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.gate", description="Compare guarded cases with a revision.")
    parser.add_argument("--against", required=True, metavar="REF", help="the revision to compare the working tree with")
    parser.add_argument(
        "--threshold", type=float, default=0.10, help="how much worse p95 may be (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="fresh pairs of processes, first look (default: %(default)s)"
    )
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="guarded cases to compare")
    args = parser.parse_args(arguments)
    commit = revision.resolve(args.against)
    if commit is None:
        print(f"gate: nothing to compare with: there is no revision {args.against} here")
        return OK
    if not revision.holds_packages(commit):
        print(f"gate: nothing to compare with: {args.against} does not hold {' and '.join(revision.PACKAGES)}")
        return OK
    if revision.same_packages(commit):
        print(f"gate: nothing to measure: {' and '.join(revision.PACKAGES)} are the same in {args.against}")
        return OK
    cases = [one.name for one in catalogue.everything() if one.guarded and catalogue.matches(one.name, args.only)]
    with Lab().scratch() as scratch:
        sides = [
            Side(BEFORE, revision.lay_out(commit, scratch / BEFORE)),
            Side(AFTER, revision.lay_out_present(scratch / AFTER)),
        ]
        return run(sides, cases, threshold=args.threshold, rounds=args.rounds)


def run(sides: Sequence[Side], cases: Sequence[str], *, threshold: float, rounds: int) -> int:
    """Compare two sides, print the table, and return the exit code."""
    begin = monotonic()
    try:
        verdicts, missing = compare(sides, cases, threshold=threshold, rounds=rounds)
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


def compare(
    sides: Sequence[Side], cases: Sequence[str], *, threshold: float, rounds: int
) -> tuple[list[Verdict], dict[str, str]]:
    """Measure `cases` on two sides, and those that look slower again; judge them; DuelError.

    Returns the verdicts, and for each case that the first side does not have, the reason.
    """
    warm(sides)
    taken, missing = measure(sides, cases, rounds)
    suspects = [case for case, found in taken.items() if is_suspect(case, found, threshold)]
    if suspects:
        print(f"gate: measuring again: {', '.join(suspects)}", flush=True)
        taken |= measure(sides, suspects, ROUNDS_AGAIN)[0]
    return [judge(case, found, threshold=threshold) for case, found in taken.items()], missing


def is_suspect(case: str, rounds: Sequence[Round], threshold: float) -> bool:
    """Say whether a case looks slower at the first look."""
    return judge(case, rounds, threshold=threshold, alpha=ALPHA_SUSPECT).answer is Answer.SLOWER


def warm(sides: Sequence[Side]) -> None:
    """Compile the kernels of every side, at the same time; nothing is measured yet."""
    with workers(sides, core=None):
        pass


def measure(sides: Sequence[Side], cases: Sequence[str], rounds: int) -> tuple[Rounds, dict[str, str]]:
    """Return the rounds of each case, and why a case could not be measured in the first of the sides."""
    found: Rounds = defaultdict(list)
    missing: dict[str, str] = {}
    cores = sorted(os.sched_getaffinity(0))
    for number in range(rounds):
        left = [case for case in cases if case not in missing]
        while left:
            with workers(sides, core=cores[number % len(cores)]) as pair:
                try:
                    while left:
                        taken = fight(pair, left[0], first=number % 2)
                        found[left.pop(0)].append(taken)
                except DuelError as error:
                    if error.side != sides[0].name:
                        raise
                    # An older revision may not have what the case needs; a fresh pair goes on with the next.
                    missing[left.pop(0)] = str(error)
    return found, missing


if __name__ == "__main__":
    sys.exit(main())
