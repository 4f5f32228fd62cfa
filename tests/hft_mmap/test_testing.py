"""The state machine holds the store against the model, and it finds stores that are wrong."""

from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from hft_mmap import Durability, Limits, WindowStats
from hft_mmap.batch import Prices, as_row
from hft_mmap.testing import SMALL_LIMITS, ModelStore, StoreMachine, StoreProcess, assert_close


class SignedMachine(StoreMachine):
    """The machine with a store that takes negative prices."""

    limits = replace(SMALL_LIMITS, negative_prices=True)
    other_limits = replace(StoreMachine.other_limits, negative_prices=True)


TestSignedStore = pytest.mark.timeout(600)(SignedMachine.TestCase)
TestSignedStore.settings = settings(
    deadline=None, max_examples=10, stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow]
)
TestStore = pytest.mark.timeout(600)(StoreMachine.TestCase)
TestStore.settings = settings(
    deadline=None, max_examples=15, stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow]
)


class ForgetfulStore(StoreProcess):
    """A store that drops the last price of long batches."""

    def append(self, symbol: str, values: Prices, *, offset: int | None = None, **columns: Any) -> int:
        """Append all but the last price, and claim to have taken all."""
        row = as_row(values)
        kept = row[:-1] if len(row) > 60 else row
        return super().append(symbol, kept, offset=offset, **columns) + len(row) - len(kept)


class RoundingStore(StoreProcess):
    """A store that rounds its variances to six digits."""

    def stats(self, symbol: str, window: int) -> WindowStats:
        """Return statistics that look right."""
        stats = super().stats(symbol, window)
        return stats._replace(var=float(f"{stats.var:.6g}"))


@pytest.mark.parametrize("wrong", [ForgetfulStore, RoundingStore])
def test_finds_a_wrong_store(wrong: type[StoreProcess]) -> None:
    """A store that forgets a point or rounds a figure does not pass the state machine."""

    class Machine(StoreMachine):
        limits: ClassVar[Limits] = SMALL_LIMITS

        def open_store(self) -> StoreProcess:
            # What a power cut leaves must not depend on when the flusher came: the same steps find the same fault.
            self.durability = Durability.SYNC
            return wrong(self.directory, limits=self.model.limits, durability=self.durability)

    # The same histories every time: whether one of them shows the fault is not left to chance.
    quick = settings(
        deadline=None, phases=[Phase.generate], max_examples=1000, stateful_step_count=20, derandomize=True
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Machine, settings=quick)


@pytest.mark.parametrize(
    ("name", "value"),
    [("min", 1.0000000000000002), ("max", 3.0000000000000004), ("last", 2.9999999999999996), ("points", 2),
     ("avg", 2.000000000003), ("var", 0.6666666666680), ("avg", 0.5), ("var", -1.0)],
)  # fmt: skip
def test_close_statistics_differ_by_nothing_that_counts(name: str, value: float) -> None:
    """A bit of min, max or last, or a millionth of a millionth of avg or var, is too much of a difference."""
    model = ModelStore(SMALL_LIMITS)
    model.append("A", [1.0, 2.0, 3.0])
    exact = model.stats("A", 3)
    assert_close(exact, exact)
    with pytest.raises(AssertionError):
        assert_close(WindowStats(**exact._asdict() | {name: value}), exact)
