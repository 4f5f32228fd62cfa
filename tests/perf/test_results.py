"""perf.record, perf.history, perf.targets, perf.figures: results are kept, compared and read off as they were taken."""

from datetime import UTC, datetime
from pathlib import Path

import pyperf
import pytest

from perf import catalogue, door_targets, figures, history, proof, question_targets, tick_targets
from perf.case import Work
from perf.experiments import EXPERIMENTS
from perf.record import Benchmark, benchmark, durations, quantities, summary, values_of, work_of
from perf.section import README, Section
from perf.target import Reading
from perf.targets import TARGETS, asked

EVERY_TARGET = (*TARGETS, *question_targets.TARGETS, *tick_targets.TARGETS, *door_targets.TARGETS)
ENVIRONMENT = {"env_cpu": "a processor", "env_commit": "0123456789ab"}


def keep(file: Path, **values: list[float]) -> None:
    """Write a result with one value a run."""
    benches = [benchmark(name, [[value] for value in runs], metadata=ENVIRONMENT) for name, runs in values.items()]
    pyperf.BenchmarkSuite(benches).dump(str(file))


def test_a_summary_has_low_middle_and_high_of_time_and_of_throughput() -> None:
    """In the units of the operation."""
    bench = benchmark("store.append[points=10]", [[4e-6], [5e-6], [8e-6]], work=Work(10, "points"))
    name, *words = summary(bench).split()
    assert name == "store.append[points=10]"
    assert " ".join(words) == "4.00 / 5.00 / 8.00 us 1.25 / 2.00 / 2.50 Mpoints/s (n=3)"


def test_a_summary_says_how_many_values_with_which_tier_effort_and_load() -> None:
    """A figure of three values from a busy machine is another figure."""
    metadata: dict[str, str | int | float] = {
        "durability": "sync",
        "env_effort": "fast",
        "load_start": 0.5,
        "load_end": 1.25,
    }
    bench = benchmark("store.append", [[4e-6], [5e-6], [8e-6]], metadata=metadata)
    assert summary(bench).endswith("(n=3, sync, fast, load 0.50 to 1.25)")


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.0, "2.00 s"), (0.0123, "12.3 ms"), (4.5e-6, "4.50 us"), (7.1e-8, "71.0 ns")]
)
def test_durations_have_three_digits_and_a_unit(seconds: float, text: str) -> None:
    """Nobody reads 0.0000045."""
    assert durations(seconds) == text


def test_small_quantities_keep_their_digits() -> None:
    """A relative error of 1e-16 is not 0.00."""
    assert quantities(1.27e-16) == "1.27e-16 "


def test_a_benchmark_keeps_its_work_through_a_file(tmp_path: Path) -> None:
    """The unit of throughput is stored with the result."""
    pyperf.BenchmarkSuite([benchmark("a", [[1.0]], work=Work(100_000_000, "points"))]).dump(str(tmp_path / "a.json"))
    assert work_of(history.load(tmp_path / "a.json")["a"]) == Work(1e8, "points")


def test_an_error_of_zero_can_be_stored() -> None:
    """A value of pyperf is positive."""
    assert values_of(benchmark("accuracy", [[0.0]], unit="integer")) == [1e-30]


def test_results_are_named_by_day_and_label(tmp_path: Path) -> None:
    """So that a listing of the directory is the history."""
    today = datetime.now(UTC).date().isoformat()
    assert history.dated("before-chunks", tmp_path).name == f"{today}_before-chunks.json"
    with pytest.raises(history.HistoryError, match=r"not '\.\./x'"):
        history.dated("../x", tmp_path)


def test_a_label_means_its_newest_result(tmp_path: Path) -> None:
    """A label may be used again on another day."""
    for day in ("2024-01-02", "2024-03-01", "2023-12-31"):
        keep(tmp_path / f"{day}_base.json", a=[1.0])
    assert history.find("base", tmp_path).name == "2024-03-01_base.json"
    with pytest.raises(history.HistoryError, match="no result other; known are: base"):
        history.find("other", tmp_path)


def test_a_comparison_says_the_factor_and_whether_chance_explains_it(tmp_path: Path) -> None:
    """The compare_to of pyperf leaves that to the reader."""
    keep(tmp_path / "a.json", moved=[1.0, 1.1, 1.2, 1.3, 1.4], same=[1.0, 3.0, 2.0, 5.0, 4.0], gone=[1.0])
    keep(tmp_path / "b.json", moved=[2.0, 2.1, 2.2, 2.3, 2.4], same=[3.0, 1.0, 5.0, 2.0, 4.0], new=[1.0])
    _, moved, same = history.compare(history.load(tmp_path / "a.json"), history.load(tmp_path / "b.json"), [])
    assert moved.split() == ["moved", "1.20", "s", "2.20", "s", "1.833"]
    assert same.split() == ["same", "3.00", "s", "3.00", "s", "1.000", "may", "be", "chance", "(p=1.00)"]


def test_a_comparison_says_what_differs_besides_the_code() -> None:
    """Another machine makes another result."""
    one = {"a": benchmark("a", [[1.0]], metadata=ENVIRONMENT)}
    two = {"a": benchmark("a", [[1.0]], metadata=ENVIRONMENT | {"env_cpu": "another"})}
    assert history.differences(one, two) == ["cpu: a processor | another"]


def synthetic() -> dict[str, Benchmark]:
    """Return a result that holds everything the targets read, every time 1 us and every quantity 1."""
    found: dict[str, Benchmark] = {}

    class Recorder(dict[str, Benchmark]):
        def __missing__(self, key: str) -> Benchmark:
            found[key] = benchmark(key, [[1e-6]], unit="second", metadata=ENVIRONMENT)
            return found[key]

    for target in EVERY_TARGET:
        target.read(Recorder())
    return found


def test_every_target_reads_benchmarks_that_it_asks_for() -> None:
    """What `python -m perf.figures` runs is what the table needs."""
    for target in EVERY_TARGET:
        read: set[str] = set()

        class Recorder(dict[str, Benchmark]):
            def __missing__(self, key: str) -> Benchmark:
                read.add(key)  # noqa: B023 - used within this turn of the loop
                return benchmark(key, [[1e-6]])

        target.read(Recorder())
        assert read
        assert all(name.startswith(target.needs) for name in read)
        read.clear()
        assert target.bound.read(Recorder())
        assert read == set(target.bound.needs)


def test_what_bounds_a_figure_is_measured_by_a_benchmark_that_there_is() -> None:
    """A case that is renamed would leave a missed figure without its explanation."""
    cases = {case.name for case in catalogue.everything()}
    for target in EVERY_TARGET:
        for need in target.bound.needs:
            assert need in cases or any(one.is_asked([need]) for one in EXPERIMENTS), need
        assert set(target.bound.needs) <= asked(EVERY_TARGET)


def test_a_missed_figure_is_printed_with_what_bounds_it() -> None:
    """A limit that can't be met on a machine looks like a fault of ours without it."""
    results = synthetic() | {"floor.pwrite[points=10]": benchmark("floor.pwrite[points=10]", [[3e-6]])}
    case = "store.append[points=10]"
    results[case] = benchmark(case, [[6e-6]], metadata=ENVIRONMENT)
    rows = figures.table(results, "some.json").splitlines()
    missed = next(row for row in rows if row.startswith("| append of 10 points"))
    assert missed.endswith("| **missed** | one pwrite of ten points alone: 3.00 us |")
    results.pop("floor.pwrite[points=10]")
    assert "| **missed** | not measured (floor.pwrite[points=10]) |" in figures.table(results, "some.json")


def test_a_table_says_the_load_of_the_machine_and_how_many_values_there_are() -> None:
    """From the start of the first benchmark to the end of the last."""
    results = {
        name: benchmark(name, [[1.0]] * n, metadata={**ENVIRONMENT, "load_start": n - 1.0, "load_end": n + 0.5})
        for name, n in (("a", 1), ("b", 3))
    }
    text = figures.table(results, "some.json")
    assert "| load average | 0.00 at the start, 3.50 at the end |" in text
    assert "| values a case | 1 to 3 |" in text


def test_the_table_says_met_missed_or_not_measured() -> None:
    """Every promise has a row, whatever was measured."""
    results = synthetic()
    results.pop("accuracy.var[points=1e6]")
    rows = figures.table(results, "some.json").splitlines()
    assert sum(row.count("| met |  |") + row.count("| **missed** |") for row in rows) == len(TARGETS)
    assert any("not measured (accuracy.var[points=1e6]) | **missed** |" in row for row in rows)
    assert "| cpu | a processor |" in rows


def test_a_section_is_replaced_and_the_rest_left_alone(tmp_path: Path) -> None:
    """Writing it twice leaves one."""
    readme = tmp_path / "README.md"
    section = Section("some figures", "a command")
    readme.write_text(f"before\n\n{section.begin}\nold\n{section.end}\nafter\n")
    for text in ("one", "two"):
        section.write(text, readme)
    assert readme.read_text() == f"before\n\n{section.begin}\n\ntwo\n\n{section.end}\nafter\n"


@pytest.mark.parametrize("section", [figures.README, figures.QUESTIONS, figures.TICKS, proof.README])
def test_the_readme_has_a_place_for_each_section(section: Section) -> None:
    """Or it could not be written."""
    assert "anything" in section.replaced("anything", README.read_text(encoding="utf-8"))


def test_a_target_that_was_not_measured_is_not_met() -> None:
    """No evidence is no pass."""
    assert figures.read(TARGETS[0], {}) == Reading("not measured (reading.window[stored=1e8,window=10])", met=False)
