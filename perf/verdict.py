"""What the gate decides about one case, from the p95 of both revisions in each round."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import exp, log
from statistics import median

from perf.duel import Round
from perf.record import durations
from perf.significance import p_increase_paired

ALPHA = 0.02
FLOOR_S = 150e-9
"""Least difference that counts: below it lies what the order of functions in memory does."""


class Answer(Enum):
    """What is to be said of a case."""

    OK = "ok"
    SLOWER = "SLOWER"
    FASTER = "faster"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The p95 of a case before and after (medians over the rounds, in seconds), and what follows.

    `change` is the middle of the changes within each round, which is not that of the two medians: what disturbs a
    round disturbs both of its sides.
    """

    case: str
    before_s: float
    after_s: float
    change: float
    p: float
    answer: Answer

    def line(self) -> str:
        """Return it as one line of the gate's table."""
        times = f"{durations(self.before_s):>12} -> {durations(self.after_s):>12}"
        return f"{self.answer.value:7} {self.case:<48} p95 {times}  in a round {self.change:+7.1%}  p={self.p:.4f}"


def judge(case: str, rounds: Sequence[Round], *, threshold: float, alpha: float = ALPHA) -> Verdict:
    """Judge a case from its rounds; both sides of a round were measured in turn, so what disturbs one disturbs both.

    Slower is: the median of the ratios exceeds 1 + `threshold`, chance explains that in less than `alpha`, and the
    difference is above FLOOR_S.
    """
    ratios = [log(one.ratio) for one in rounds]
    change = exp(median(ratios)) - 1
    before_s, after_s = median(one.before_s for one in rounds), median(one.after_s for one in rounds)
    difference_s = before_s * change
    p_slower, p_faster = p_increase_paired(ratios), p_increase_paired([-one for one in ratios])
    if change > threshold and p_slower < alpha and difference_s > FLOOR_S:
        answer = Answer.SLOWER
    elif change < -threshold and p_faster < alpha and -difference_s > FLOOR_S:
        answer = Answer.FASTER
    else:
        answer = Answer.OK
    return Verdict(case, before_s, after_s, change, min(p_slower, p_faster), answer)
