"""What is promised of the doors that people already have: line protocol, PromQL, WebSocket, the screen in a browser."""

from collections.abc import Callable
from statistics import median

from perf.bounds import Bound
from perf.case import name
from perf.experiments import dashboard, watchlist
from perf.experiments.binary import LINES
from perf.record import durations, quantities, values_of
from perf.suites.ticks import STORED
from perf.target import Reading, Results, Target

_BIG = STORED[-1]
_MANY = 100
_LINES = name("binary", "write", lines=LINES, what="ours")
_LINES_CPU = name("binary", "write", lines=LINES, what="ours_cpu")
_IN_PROCESS = name("http_app", "write", lines=LINES)


def _middle(results: Results, benchmark: str) -> float:
    return median(values_of(results[benchmark]))


def _beside(text: str, benchmark: str, read: Callable[[float], str] = durations) -> Bound:
    """Return a bound that is what another benchmark gives."""
    return Bound((benchmark,), lambda results: f"{text} {read(_middle(results, benchmark))}")


def _known(text: str) -> Bound:
    """Return a bound that needs no measurement."""
    return Bound((), lambda _results: text)


def _write(results: Results) -> Reading:
    rate, by_cpu = (LINES / _middle(results, one) for one in (_LINES, _LINES_CPU))
    return Reading(f"{quantities(rate)}ticks/s (of processor time: {quantities(by_cpu)}ticks/s)", rate >= 2e6)


def _query_range(results: Results) -> Reading:
    seconds = _middle(results, name("ticks", "query_range", stored=_BIG))
    return Reading(durations(seconds), seconds <= 10e-3)


def _questions(results: Results) -> Reading:
    one, many = (_middle(results, _asked(count)) for count in (1, _MANY))
    text = f"{quantities(1 / many)}answers/s with {_MANY} questions a message, {quantities(1 / one)}answers/s with one"
    return Reading(text, 1 / many >= 1e5)


def _asked(count: int) -> str:
    return name("streams", "query", questions=count, connections=1, what="answer")


def _open_dashboard(what: str) -> str:
    return name("dashboard", "stats", stored=dashboard.STORED, what=what)


def _stats_beside(results: Results) -> Reading:
    share, by_cpu = (_middle(results, _open_dashboard(what)) for what in ("share", "cpu_share"))
    return Reading(f"{share:.3f} (processor time: {by_cpu:.3f})", share >= 0.99)


def _page_requests(results: Results) -> Reading:
    asked = _middle(results, _open_dashboard("page_requests_a_second"))
    return Reading(f"{asked:.2f}", asked <= 1)


def _first_chart(results: Results) -> Reading:
    seconds = _middle(results, name("dashboard", "first_chart", stored=dashboard.STORED))
    return Reading(durations(seconds), seconds <= 1)


def _page_weight(results: Results) -> Reading:
    size = max(values_of(results["dashboard.bytes_sent"]))
    return Reading(f"{size / 1000:.1f} kB", size <= 150_000)


def _listed(what: str, **more: object) -> str:
    return name("watchlist", what, symbols=watchlist.SYMBOLS, **more)


def _list_painted(results: Results) -> Reading:
    rows, everything = (_middle(results, _listed(what)) for what in ("first_rows", "all_known"))
    return Reading(f"{durations(rows)}; all symbols are there after {durations(everything)}", rows <= 1.5)


def _list_scrolled(results: Results) -> Reading:
    page, beside = (
        [_middle(results, _listed("frame", of=of, p=share)) for share in (50, 99)] for of in ("page", "beside_chart")
    )
    text = f"{durations(*page)} (list), {durations(*beside)} (beside a chart)"
    return Reading(text, max(page[1], beside[1]) <= 16e-3)


TARGETS = (
    Target(
        "line protocol, requests of 1,000 lines over one connection", "2 M ticks/s", ("binary.write",), _write,
        _beside("a request in the process, without HTTP:", _IN_PROCESS),
    ),
    Target(
        "`/api/v1/query_range` of 1,000 steps over 1e8 ticks", "10 ms", (name("ticks", "query_range", stored=_BIG),),
        _query_range, _beside("over 1e5 ticks:", name("ticks", "query_range", stored=STORED[0])),
    ),
    Target(
        "questions over one WebSocket, one core", "100,000 answers/s", ("streams.query",), _questions,
        _beside("processor time of an answer:", _asked(_MANY).replace("answer]", "answer_cpu]")),
    ),
    Target(
        "/stats requests a second beside an open dashboard, as a share of those without it, 1e8 points", "0.99",
        ("dashboard.stats",), _stats_beside, _beside("share by processor time:", _open_dashboard("cpu_share"),
        "{:.3f}".format),
    ),
    Target(
        "requests a second of a dashboard that is open", "1", ("dashboard.stats",), _page_requests,
        _known("its list of symbols, every ten seconds; all else is pushed"),
    ),
    Target(
        "dashboard opened to the paint of its first chart, 1e8 points", "1 s", ("dashboard.first_chart",), _first_chart,
        _beside("its series alone, answered in the process:", name("http_app", "series", stored=_BIG, buckets=1000)),
    ),
    Target(
        "the dashboard as it is sent, compressed", "150 kB", ("dashboard.bytes_sent",), _page_weight,
        _known("its own files; nothing is loaded from elsewhere"),
    ),
    Target(
        "the list of 10,000 symbols opened to the paint of its first rows", "1.5 s", ("watchlist.",), _list_painted,
        _known("twenty answers of 500 symbols, one after the other; the first rows need one of them"),
    ),
    Target(
        "work of a frame while 10,000 symbols are scrolled, median and p99", "16 ms", ("watchlist.",), _list_scrolled,
        _known("it makes and places the rows that come into sight"),
    ),
)  # fmt: skip
