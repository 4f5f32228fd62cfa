"""The gate: is a guarded case slower than in another revision? `python -m perf.gate --against REF`.

    exit 0  no case is slower, or nothing that is measured has changed
    exit 1  a case is slower: its name, both p95s and the percentage are printed
    exit 2  it could not be measured, or not all of it in the time there was; the reason is printed

Both revisions run under the present benchmarks, in turn, in fresh processes, on the same core. Slower is: p95 worse by
more than the threshold, and significant, and above an absolute floor (perf.verdict).

The first look is quick to suspect, and the second, at suspects only, decides: so a true change is seldom missed, and
many cases that are each looked at on every commit do not raise as many times the alarms.
"""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic

from perf import catalogue, revision
from perf.duel import DuelError, Round, Side, fight, workers
from perf.lab import Lab
from perf.verdict import Answer, Verdict, judge

OK, SLOWER, NOT_MEASURED = 0, 1, 2
ROUNDS = 9
ROUNDS_AGAIN = 15
ALPHA_SUSPECT = 0.10
BUDGET_S = 600.0
BEFORE, AFTER = "before", "after"

Rounds = dict[str, list[Round]]


class OutOfTimeError(Exception):
    """The time was up before everything was measured; the text names what was not."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How thoroughly to compare: fresh pairs of processes at the first look and at the second, and seconds for all."""

    threshold: float = 0.10
    rounds: int = ROUNDS
    rounds_again: int = ROUNDS_AGAIN
    budget_s: float = BUDGET_S


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate; return the exit code, NOT_MEASURED for whatever goes wrong."""
    args = _options(arguments)
    try:
        return _gate(args)
    except Exception as error:  # noqa: BLE001 - an exit code of 1 must mean "slower" and nothing else
        print(f"gate: could not measure: {type(error).__name__}: {error}")
        return NOT_MEASURED


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m perf.gate", description="Compare guarded cases with a revision.")
    parser.add_argument("--against", required=True, metavar="REF", help="the revision to compare the working tree with")
    parser.add_argument(
        "--threshold", type=float, default=0.10, help="how much worse p95 may be (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="fresh pairs of processes, first look (default: %(default)s)"
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=BUDGET_S,
        metavar="S",
        help="exit 2 after so many seconds (default: %(default)s)",
    )
    parser.add_argument(
        "--look-back", type=int, default=0, metavar="N",
        help="where REF has the same packages, compare with the newest of the N commits before it that has others",
    )  # fmt: skip
    parser.add_argument(
        "--allow-missing", action="store_true", help="pass where REF is not there or holds no code: a first commit"
    )
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="guarded cases to compare")
    return parser.parse_args(arguments)


def _gate(args: argparse.Namespace) -> int:
    begin = monotonic()
    commit = revision.resolve(args.against)
    if commit is None:
        return _nothing_to_compare_with(f"there is no revision {args.against} here", args)
    if not revision.holds_packages(commit):
        return _nothing_to_compare_with(f"{args.against} does not hold {' and '.join(revision.PACKAGES)}", args)
    _warn_of_other_libraries(commit, args.against)
    if revision.same_packages(commit):
        found = revision.newest_that_differs(commit, args.look_back) if args.look_back else None
        if found is None:
            back = f" and in the {args.look_back} commits before it" if args.look_back else ""
            print(f"gate: nothing to measure: {' and '.join(revision.PACKAGES)} are the same in {args.against}{back}")
            return OK
        print(f"gate: {args.against} has the same packages; comparing with {found[:12]}, the newest that has others")
        commit = found
        _warn_of_other_libraries(commit, commit[:12])
    cases = [one.name for one in catalogue.everything() if one.guarded and catalogue.matches(one.name, args.only)]
    with Lab().scratch() as scratch:
        sides = [
            Side(BEFORE, revision.lay_out(commit, scratch / BEFORE)),
            Side(AFTER, revision.lay_out_present(scratch / AFTER)),
        ]
        left_s = args.budget - (monotonic() - begin)
        return run(sides, cases, Plan(args.threshold, args.rounds, budget_s=left_s))


def _nothing_to_compare_with(why: str, args: argparse.Namespace) -> int:
    print(f"gate: nothing to compare with: {why}")
    if args.allow_missing:
        return OK
    print("gate: could not measure; --allow-missing passes it, for a first commit")
    return NOT_MEASURED


def _warn_of_other_libraries(commit: str, shown: str) -> None:
    if not revision.same_libraries(commit):
        print(f"gate: WARNING: {revision.LOCK} is not that of {shown}. Both sides run on the libraries installed now:")
        print("gate: WARNING: what the change of libraries costs or gains is NOT in this comparison.")


def run(sides: Sequence[Side], cases: Sequence[str], plan: Plan) -> int:
    """Compare two sides, print the table, and return the exit code."""
    begin = monotonic()
    try:
        verdicts, missing = compare(sides, cases, plan)
    except (DuelError, OutOfTimeError) as error:
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


def compare(sides: Sequence[Side], cases: Sequence[str], plan: Plan) -> tuple[list[Verdict], dict[str, str]]:
    """Measure `cases` on two sides, and those that look slower again; judge them; DuelError, OutOfTimeError.

    Returns the verdicts, and for each case that the first side does not have, the reason.
    """
    deadline = monotonic() + plan.budget_s
    warm(sides, deadline)
    taken, missing = measure(sides, cases, plan.rounds, deadline)
    suspects = [case for case, found in taken.items() if is_suspect(case, found, plan.threshold)]
    if suspects:
        print(f"gate: measuring again: {', '.join(suspects)}", flush=True)
        taken |= measure(sides, suspects, plan.rounds_again, deadline)[0]
    return [judge(case, found, threshold=plan.threshold) for case, found in taken.items()], missing


def is_suspect(case: str, rounds: Sequence[Round], threshold: float) -> bool:
    """Say whether a case looks slower at the first look."""
    return judge(case, rounds, threshold=threshold, alpha=ALPHA_SUSPECT).answer is Answer.SLOWER


def warm(sides: Sequence[Side], deadline: float = inf) -> None:
    """Compile the kernels of every side, at the same time; nothing is measured yet."""
    with workers(sides, core=None, deadline=deadline):
        pass


def measure(
    sides: Sequence[Side], cases: Sequence[str], rounds: int, deadline: float = inf
) -> tuple[Rounds, dict[str, str]]:
    """Return the rounds of each case, and why a case is not in the first of the sides; DuelError, OutOfTimeError.

    A case is new where the first side lacks what it needs, which shows when it is prepared for the first time. That
    a side fails in any other way, or later, is a failure to measure.
    """
    found: Rounds = defaultdict(list)
    missing: dict[str, str] = {}
    cores = sorted(os.sched_getaffinity(0))
    for number in range(rounds):
        left = [case for case in cases if case not in missing]
        while left:
            try:
                with workers(sides, cores[number % len(cores)], deadline) as pair:
                    while left:
                        taken = fight(pair, left[0], first=number % 2)
                        found[left.pop(0)].append(taken)
            except DuelError as error:
                if monotonic() >= deadline:
                    unfinished = ", ".join([*left, *(case for case in cases if case not in (*left, *missing))])
                    where = f"in round {number + 1} of {rounds}"
                    raise OutOfTimeError(f"the time was up {where}; not measured in full: {unfinished}") from error
                if not (error.lacks and error.side == sides[0].name and number == 0):
                    raise
                missing[left.pop(0)] = str(error)  # a fresh pair goes on with the next
    return found, missing


if __name__ == "__main__":
    sys.exit(main())
