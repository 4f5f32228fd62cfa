"""The interface of Prometheus: what its clients send, what a token may see, what is bounded; and the dashboard."""

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.access.tokens import READ, WRITE, add
from api.promql import budget, patterns
from api.promql.budget import MOST_POINTS
from api.promql.parser import parsed
from api.promql.patterns import Effort, matcher
from api.promql.refusals import NoAnswer, NoQuery
from tests.api.test_auth import bearer
from tests.service import ROOT, Service, running_service

T = 1_767_225_600
SYMBOL, UNTIMED, UNSIZED = "P/ß", "P-UNTIMED", "P-UNSIZED"
PRICES, SIZES = [10.0, 11.0, 9.0, 12.0], [2.0, -1.5, 0.25, 1.0]
TIMES = [T, T + 60, T + 110, T + 400]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module", autouse=True)
def stored(shared_service: Service) -> None:
    """Store four ticks, as many without sizes, and prices alone."""
    store(shared_service, SYMBOL, values=PRICES, times=TIMES, sizes=SIZES)
    store(shared_service, UNSIZED, values=PRICES, times=TIMES)
    assert shared_service.add(UNTIMED, PRICES).is_success


def store(service: Service, symbol: str, unit: str = "s", **columns: list[Any]) -> None:
    """Append ticks."""
    answer = service.client.post("/add_batch", json={"symbol": symbol, "time_unit": unit, **columns})
    assert answer.is_success, answer.text


def ask(service: Service, query: str, at: float = T + 120, **parameters: Any) -> Any:
    """Return the result of an instant query."""
    answer = service.client.get("/api/v1/query", params={"query": query, "time": at, **parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["result"]


def value(service: Service, query: str, at: float = T + 120) -> float | None:
    """Return the value of the one series that a query is about, None where it has none."""
    found = ask(service, query, at)
    assert len(found) <= 1
    return float(found[0]["value"][1]) if found else None


def refused(answer: httpx.Response, status: int, kind: str) -> str:
    """Return what is told of a refusal."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json"), answer.text
    assert answer.headers["X-Request-ID"]
    told = answer.json()
    assert (told["status"], told["errorType"]) == ("error", kind)
    return str(told["error"])


P = f'{{symbol="{SYMBOL}"}}'


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"price{P}", 9.0), (f"size{P}", 0.25), (f"volume{P} offset 1m", 1.5), (f"value{P} @ {T + 60}", 16.5),
        (f"avg_over_time(price{P}[1m])", 10.0), (f"count_over_time(price{P}[2m])", 3.0),
        (f"sum_over_time(size{P}[2m])", 0.75), (f"sum_over_time(volume{P}[2m])", 3.75),
        (f"sum_over_time(value{P}[2m]) / sum_over_time(volume{P}[2m])", (20 + 16.5 + 2.25) / 3.75),
        (f"max_over_time(volume{P}[2m])", 2.0), (f"min_over_time(size{P}[2m])", -1.5),
        (f"stddev_over_time(value{P}[2m])", float(np.std([20, 16.5, 2.25]))),
        (f"quantile_over_time(0.5, price{P}[2m])", 10.0), (f"quantile_over_time(0.25, size{P}[2m])", -0.625),
        (f"avg_over_time(value{P}[10s])", 2.25), (f"sum_over_time(value{P}[9s])", None),
        (f"delta(price{P}[2m])", (9 - 10) * 120 / 110), (f"delta(price{P}[10s])", None),
        (f"-price{P} ^ 2", -81.0), ("2 ^ 3 ^ 2 - 7 % 4", None),
    ],
)  # fmt: skip
def test_values(shared_service: Service, query: str, expected: float | None) -> None:
    """As they follow from the points; metrics of sizes are their sizes, absolute sizes, and what was paid."""
    if query.startswith("2 "):
        at, text = ask(shared_service, query)
        assert (at, text) == (T + 120, "509.0")
        return
    found = value(shared_service, query)
    assert found is expected is None or (found is not None and expected is not None and math.isclose(found, expected))


def test_the_value_at_a_time_is_the_newest_to_the_nanosecond(shared_service: Service) -> None:
    """A query asks at milliseconds, points are where they are; what is a nanosecond later is not there yet."""
    ns = T * 10**9
    store(shared_service, "P-NS", "ns", values=[1.0, 2.0, 3.0, 4.0], times=[ns, ns + 1, ns + 1, ns + 10**6 + 1])
    query = 'price{symbol="P-NS"}'
    assert value(shared_service, query, T) == 1.0
    assert value(shared_service, query, T + 0.001) == 3.0
    assert value(shared_service, query, T + 0.002) == 4.0
    assert value(shared_service, f"count_over_time({query[:-1]}}}[1ms])", T + 0.001) == 3.0
    assert value(shared_service, f"count_over_time({query[:-1]}}}[1ms])", T + 0.002) == 1.0
    assert value(shared_service, f"delta({query[:-1]}}}[1ms])", T + 0.001) == 2.5  # of two, half a mean distance more


def test_no_time_passed_is_no_change(shared_service: Service) -> None:
    """Where all points of a window came at once there is no rate to stretch a change by."""
    store(shared_service, "P-AT-ONCE", values=[1.0, 2.0], times=[T, T])
    assert value(shared_service, 'delta(price{symbol="P-AT-ONCE"}[5m])', T) is None
    assert value(shared_service, 'count_over_time(price{symbol="P-AT-ONCE"}[5m])', T) == 2.0


def test_a_value_is_stale_after_five_minutes(shared_service: Service) -> None:
    """As in Prometheus: at five minutes it still counts."""
    assert value(shared_service, f"price{P}", T + 410) == 12.0
    assert value(shared_service, f"price{P}", T + 700) == 12.0
    assert value(shared_service, f"price{P}", T + 700.001) is None


def test_series_are_of_symbols_with_times(shared_service: Service) -> None:
    """Those of prices alone are not there; where there are no sizes, there is a price only."""
    answer = shared_service.client.get("/api/v1/series", params={"match[]": [f'{{symbol=~"{SYMBOL}|P-UN.*"}}']})
    sized = [{"__name__": name, "symbol": SYMBOL} for name in ("price", "size", "value", "volume")]
    expected = [{"__name__": "price", "symbol": UNSIZED}, *sized]
    assert sorted(answer.json()["data"], key=str) == sorted(expected, key=str)
    assert ask(shared_service, f'price{{symbol="{UNTIMED}"}}') == []


# What Grafana 11 sends, with the names of its headers.
GRAFANA = {"User-Agent": "Grafana/11.2.0", "Accept-Encoding": "gzip", "X-Datasource-Uid": "d", "X-Panel-Id": "2"}


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/api/v1/query", f"query=1%2B1&time={T}", {"resultType": "scalar", "result": [T, "2.0"]}),
        ("GET", f"/api/v1/query?query=1%2B1&time={T}", "", {"resultType": "scalar", "result": [T, "2.0"]}),
        (
            "POST",
            "/api/v1/query_range",
            f"end={T + 120}&query=price%7Bsymbol%3D%22P%2F%C3%9F%22%7D&start={T + 60}.000&step=30",
            {
                "resultType": "matrix",
                "result": [
                    {
                        "metric": {"__name__": "price", "symbol": SYMBOL},
                        "values": [[T + 60, "11.0"], [T + 90, "11.0"], [T + 120, "9.0"]],
                    }
                ],
            },
        ),
        (
            "POST",
            "/api/v1/query",
            f"query=max_over_time%28price%7Bsymbol%3D~%22P%2F.%7CX%22%7D%5B1m%5D%29&time={T + 60}.5&timeout=60s",
            {"resultType": "vector", "result": [{"metric": {"symbol": SYMBOL}, "value": [T + 60.5, "11.0"]}]},
        ),
        ("POST", "/api/v1/labels", f"end={T + 3600}&start={T}&match%5B%5D=price", ["__name__", "symbol"]),
        ("GET", "/api/v1/label/__name__/values?start=1&end=2&limit=2", "", ["price", "size"]),
        (
            "GET",
            f"/api/v1/label/symbol/values?match%5B%5D=price%7Bsymbol%3D~%22P/.%22%7D&start={T}&end={T}",
            "",
            [SYMBOL],
        ),
        (
            "POST",
            "/api/v1/series",
            "match%5B%5D=size%7Bsymbol%3D%22P%2F%C3%9F%22%7D&start=1&end=2",
            [{"__name__": "size", "symbol": SYMBOL}],
        ),
        (
            "GET",
            "/api/v1/metadata?metric=price&limit=10",
            "",
            {"price": [{"type": "gauge", "help": "The price of each point.", "unit": ""}]},
        ),
    ],
)
def test_what_grafana_sends_is_answered(
    shared_service: Service, method: str, path: str, body: str, expected: object
) -> None:
    """Forms and queries, with parameters that mean nothing here, and slashes at the end."""
    headers = {**GRAFANA, **(FORM if body else {})}
    for slash in ("", "/"):
        url = path.replace("?", f"{slash}?") if "?" in path else path + slash
        answer = shared_service.client.request(method, url, content=body or None, headers=headers)
        assert answer.json() == {"status": "success", "data": expected}
    if method == "GET":
        head = shared_service.client.head(path, headers=headers)
        assert (head.status_code, head.content) == (200, b"")


def test_grafana_learns_what_it_speaks_to(shared_service: Service) -> None:
    """A version by which it chooses what to ask, and who this is."""
    about = shared_service.client.get("/api/v1/status/buildinfo").json()["data"]
    assert (about["version"], about["application"]) == ("2.42.0", "hft-mmap")


DASHBOARD = json.loads((ROOT / "docs" / "grafana" / "symbol.json").read_text())
TARGETS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{t}-{one['refId']}" for t, one in TARGETS])
@pytest.mark.parametrize("window", DASHBOARD["templating"]["list"][2]["query"].split(","))
def test_each_query_of_the_dashboard_has_an_answer(
    shared_service: Service, title: str, target: dict[str, Any], window: str
) -> None:
    """Each panel shows something, at every window that can be chosen."""
    query = target["expr"]
    for name, text in (("$__interval", "1m"), ("$symbol", SYMBOL), ("$window", window)):
        query = query.replace(name, text)
    assert "$" not in query
    when = {"time": T + 115} if target["instant"] else {"start": T + 60, "end": T + 460, "step": 60}
    path = "/api/v1/query" if target["instant"] else "/api/v1/query_range"
    answer = shared_service.client.post(path, data={"query": query, **when})
    assert answer.is_success, (title, answer.text)
    assert answer.json()["data"]["result"], title


def test_the_dashboard_chooses_among_symbols() -> None:
    """By what this interface answers: the values of a label."""
    _, symbols, _ = DASHBOARD["templating"]["list"]
    assert symbols["query"]["query"] == "label_values(price, symbol)"


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("rate(price[5m])", "function 'rate'"), ("price or price", "operator or"), ("price and price", "operator and"),
        ("price atan2 1", "operator atan2"), ("max_over_time(price[1h:1m])", "subquery"), ("price[5m]", "range vector"),
        ("'a'", "string"), ("stddev(price)", "aggregation stddev"), ("count_values('a', price)", "count_values"),
        ("price / on(symbol) size", "on behind /"), ("price * ignoring(job) group_left size", "ignoring behind *"),
        ('price{symbol=~"\\\\pL"}', "\\p"), ('price{symbol=~"(?P<a>b)"}', "(?"), ('price{symbol=~"[[:alpha:]]"}', "[:"),
        ("first_over_time(price[5m])", "function 'first_over_time'"), ("(" * 60 + "1" + ")" * 60, "more than 50"),
        ("1" + "+1" * 1_500, "more than 200 parts"), ("1" + " " * 100_000, "100,001 characters"),
    ],
)  # fmt: skip
def test_what_is_not_answered_is_named(shared_service: Service, query: str, named: str) -> None:
    """422, and the construct; never another answer than Prometheus would give."""
    answer = shared_service.client.post("/api/v1/query", data={"query": query, "time": T})
    assert named in refused(answer, 422, "execution")


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"query": "1 +"}, "1:4: parse error"), ({}, '"query"'), ({"query": "1", "time": "2026-01-31"}, '"time"'),
        ({"query": "1", "time": "1e300"}, '"time"'), ({"query": "1", "time": "5m"}, '"time"'),
    ],
)  # fmt: skip
def test_what_is_no_query_is_bad_data(shared_service: Service, parameters: dict[str, str], told: str) -> None:
    """400, in the form of Prometheus."""
    assert told in refused(shared_service.client.get("/api/v1/query", params=parameters), 400, "bad_data")


WORDS = (
    "price", "size", "{", "}", "(", ")", "[", "]", ",", "=", "=~", "!~", '"A"', "'(a|b)*'", "5m", "1h30m", ":", "@",
    "offset", "-", "+", "*", "^", "%", ">", "bool", "1", ".5", "0x1f", "1e3", "NaN", "inf", "sum", "by", "without",
    "topk", "delta", "avg_over_time", "quantile_over_time", "absent", "scalar", "time", "symbol", "start", "#", " ",
    "\\", "`", "and", "on",
)  # fmt: skip


@given(st.one_of(st.lists(st.sampled_from(WORDS), max_size=40).map("".join), st.text(max_size=40)))
@settings(max_examples=2_000, deadline=None)
@example("-" * 5_000)
@example("{" * 5_000)
@example("((1))[5m]")
@example('price{a=~"' + "(" * 5_000)
@example("1" + "^1" * 5_000)
def test_any_text_is_a_query_or_refused(text: str) -> None:
    """By nothing but the two refusals that are told."""
    with suppress(NoQuery, NoAnswer):
        parsed(text)


def test_other_bodies_are_refused(shared_service: Service) -> None:
    """A form, or nothing."""
    answer = shared_service.client.post("/api/v1/query", json={"query": "1"})
    assert "application/x-www-form-urlencoded" in refused(answer, 415, "bad_data")
    answer = shared_service.client.post("/api/v1/query", content=b"query=%zz", headers=FORM)
    assert "percent sign" in refused(answer, 400, "bad_data")
    answer = shared_service.client.post("/api/v1/query", content=b"query=" + b" " * 5_000_000, headers=FORM)
    assert "server.max_body_bytes" in refused(answer, 413, "bad_data")


def test_too_many_values_are_refused(shared_service: Service) -> None:
    """Series times steps, of all selectors together; and more than 11,000 steps."""
    symbols = [f"P-MANY-{k}" for k in range(50)]
    for symbol in symbols:
        store(shared_service, symbol, values=[1.0], times=[T])
    several: dict[str, Any] = {
        "query": 'price{symbol=~"P-MANY-.*"} + price{symbol=~"P-MANY-.*"}',
        "start": T,
        "end": T + 10_999,
        "step": 1,
    }
    answer = shared_service.client.get("/api/v1/query_range", params=several)
    assert "1,100,000 values" in refused(answer, 422, "execution")
    answer = shared_service.client.get("/api/v1/query_range", params={**several, "end": T + 11_001})
    assert "step" in refused(answer, 400, "bad_data")


def test_too_many_points_are_refused(shared_service: Service) -> None:
    """For what reads each of them: steps times points, and the limit is told."""
    n = 10_000
    store(shared_service, "P-LONG", values=[1.0] * n, times=list(range(T, T + n)), sizes=[1.0] * n)
    asked: dict[str, Any] = {"start": T + n, "end": T + n + 6_000, "step": 1}
    for query in ('quantile_over_time(0.5, price{symbol="P-LONG"}[1d])', 'max_over_time(size{symbol="P-LONG"}[1d])'):
        answer = shared_service.client.get("/api/v1/query_range", params={"query": query, **asked})
        assert f"{MOST_POINTS:,}" in refused(answer, 422, "execution")
    fixed = f'quantile_over_time(0.5, price{{symbol="P-LONG"}}[1d] @ {T + n})'
    answer = shared_service.client.get("/api/v1/query_range", params={"query": fixed, **asked})
    assert answer.is_success  # one window for all steps
    folded = 'max_over_time(price{symbol="P-LONG"}[1d])'
    assert shared_service.client.get("/api/v1/query_range", params={"query": folded, **asked}).is_success


def test_windows_of_which_points_are_gone_have_no_value(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A mean of what is left would be another number; the newest of a window is right all the same."""
    sizes = {"store__max_data_retention": 8_192, "store__cleanup_keep_count": 4_096}
    with running_service(tmp_path_factory.mktemp("gone"), **sizes) as service:
        for begin in (0, 5_000):
            times = list(range(T + begin, T + begin + 5_000))
            store(service, "A", values=[float(t - T) for t in times], times=times)
        start = service.client.get("/symbols/A").json()["start"]
        assert start > 0
        oldest = T + start
        assert value(service, "avg_over_time(price[10s])", oldest + 10) is None
        assert value(service, "avg_over_time(price[10s])", oldest + 11) == start + 6.0
        assert value(service, "last_over_time(price[10s])", oldest + 10) == start + 10.0
        assert value(service, "price", oldest) == start
        assert value(service, "price", oldest - 1) is None


# -- access -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, dict[str, str]]]:
    """Yield a service with tokens, and a symbol of theirs and one of others."""
    directory = tmp_path_factory.mktemp("guarded")
    scopes = {"mine": ["read:ES.*"], "all": [READ, WRITE], "writer": [WRITE]}
    sent = {name: add(directory / "tokens", name, one) for name, one in scopes.items()}
    with running_service(directory, auth__tokens_file="tokens") as service:
        for symbol in ("ES.A", "NQ.SECRET"):
            body = {"symbol": symbol, "values": [1.0], "times": [T], "time_unit": "s"}
            assert service.client.post("/add_batch", json=body, headers=bearer(sent["all"])).is_success
        yield service, sent


@pytest.mark.parametrize("query", ["price", '{symbol=~".+"}', 'price{symbol!="ES.A"} + 0', 'price{symbol="NQ.SECRET"}'])
def test_symbols_that_a_token_may_not_read_do_not_show(guarded: tuple[Service, dict[str, str]], query: str) -> None:
    """As if they were not there, named or not, also where a form asks."""
    service, sent = guarded
    form = {"query": query, "time": str(T)}
    mine = service.client.post("/api/v1/query", data=form, headers=bearer(sent["mine"]))
    assert mine.is_success
    assert "NQ.SECRET" not in mine.text
    assert "NQ.SECRET" in service.client.post("/api/v1/query", data=form, headers=bearer(sent["all"])).text


@pytest.mark.parametrize("path", ["/api/v1/series?match[]=price", "/api/v1/label/symbol/values"])
def test_nor_do_their_names(guarded: tuple[Service, dict[str, str]], path: str) -> None:
    """In lists of series and of labels."""
    service, sent = guarded
    for name, shows in (("mine", False), ("all", True)):
        answer = service.client.get(path, headers=bearer(sent[name]))
        assert "ES.A" in answer.text
        assert ("NQ.SECRET" in answer.text) == shows


def test_a_token_needs_read(guarded: tuple[Service, dict[str, str]]) -> None:
    """For every route of this interface."""
    service, sent = guarded
    for path in ("/api/v1/query?query=1", "/api/v1/labels", "/api/v1/status/buildinfo", "/api/v1/metadata"):
        assert service.client.get(path).status_code == 401
        assert service.client.get(path, headers=bearer(sent["writer"])).status_code == 403


# -- patterns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("", [""], ["a"]),
        ("a|b", ["a", "b"], ["", "ab", "c"]),
        ("a\\.b|c", ["a.b", "c"], ["axb"]),
        ("a||b", ["", "a"], ["c"]),
        ("a.c", ["abc", "aßc"], ["ac", "a\nc"]),
        ("a*", ["", "aaa"], ["ab"]),
        ("(ab)+c?", ["ab", "ababc"], ["", "aab"]),
        ("(a|b)*c", ["c", "abbac"], ["abca"]),
        ("[a-c]{2}", ["ac"], ["a", "acb", "ad"]),
        ("[^a-c]+", ["xyz"], ["", "xa"]),
        ("a{2,3}", ["aa", "aaa"], ["a", "aaaa"]),
        ("a{2,}", ["aa", "aaaaa"], ["a"]),
        ("a{,2}", ["a{,2}"], ["a", "aa"]),
        ("\\d+\\w\\s?", ["12a", "1_ "], ["a"]),
        ("\\D", ["a"], ["1"]),
        ("[\\d.]+", ["1.5"], ["a"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("^a$", ["a"], ["^a$"]),
        ("(^a|b$)", ["a", "b"], ["ab"]),
        ("a^b", [], ["a^b", "ab"]),
        ("(?i)aB.", ["ABx", "abx"], ["axb"]),
        ("(?:a)(b)", ["ab"], ["a"]),
        ("a+?b??", ["aab", "a"], ["b"]),
        ("\\|", ["|"], ["", "\\"]),
        ("a\\|b", ["a|b"], ["a", "b"]),
        ("$^", [""], ["a"]),
        ("(a*)*", ["", "aa"], ["b"]),
        ("(a*)+b", ["aab", "b"], ["a"]),
        ("日.*", ["日本"], ["本"]),
    ],
)
def test_patterns_match_whole_texts(pattern: str, matches: list[str], others: list[str]) -> None:
    """As RE2 has them."""
    found = matcher(pattern, Effort())
    assert [text for text in (*matches, *others) if found(text)] == matches


@pytest.mark.parametrize(
    "pattern", ["(", ")", "a)", "[a", "a**", "a{3,2}", "a{1001}", "*", "[b-a]", "\\", "(?:", "(" * 60]
)
def test_what_is_no_pattern_is_told(pattern: str) -> None:
    """With the place."""
    with pytest.raises(NoQuery, match="regexp"):
        matcher(pattern, Effort())


def test_a_pattern_takes_time_that_is_linear_in_the_text() -> None:
    """Where a search that goes back would not end in the life of the machine."""
    found = matcher("(a*)*(a|aa)+(a?){50}b", Effort())
    assert not found("a" * 5_000)
    assert found("a" * 5_000 + "b")


def test_a_pattern_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In what it is written out to, and in how long it may take over all symbols."""
    with pytest.raises(NoAnswer, match="2,000"):
        matcher("((ab?){100}){100}", Effort())
    with pytest.raises(NoAnswer, match="too long"):
        matcher("(((a{0}){1000}){1000}){1000}", Effort())
    monkeypatch.setattr(patterns, "MOST_STEPS", 1_000)
    found = matcher("(a|b)*a(a|b){9}", Effort())
    texts = [format(k, "010b").replace("0", "a").replace("1", "b") for k in range(1_000)]
    with pytest.raises(NoAnswer, match="too long"):
        list(map(found, texts))


def test_the_selectors_of_a_request_are_bounded(shared_service: Service) -> None:
    """A form could have a hundred thousand."""
    answer = shared_service.client.post("/api/v1/labels", data={"match[]": ["price"] * 101})
    assert "101 selectors" in refused(answer, 422, "execution")
    matchers = ",".join(['a!="b"'] * 200)
    answer = shared_service.client.post("/api/v1/query", data={"query": f"price{{{matchers}}}"})
    assert "more than 200 parts" in refused(answer, 422, "execution")


def test_a_series_that_cannot_be_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It is missed where it is one of many, and said so; where it is the one that is asked for, there is no answer."""
    directory = tmp_path_factory.mktemp("aside")
    with running_service(directory) as service:
        for symbol in "AB":
            store(service, symbol, values=[1.0], times=[T])
        assert service.stop() == 0
    head = directory / "data" / "B" / "head"
    head.write_bytes(bytes(len(head.read_bytes())))
    with running_service(directory) as service:
        answer = service.client.get("/api/v1/query", params={"query": "price", "time": T}).json()
        assert [one["metric"]["symbol"] for one in answer["data"]["result"]] == ["A"]
        (warning,) = answer["warnings"]
        assert "B" in warning
        answer = service.client.get("/api/v1/label/symbol/values").json()
        assert (answer["data"], len(answer["warnings"])) == (["A"], 1)
        alone = service.client.get("/api/v1/query", params={"query": 'price{symbol="B"}', "time": T})
        assert "B is set aside" in refused(alone, 503, "unavailable")


def test_the_budget_of_a_query_is_of_all_its_parts() -> None:
    """What one part took the next has no more."""
    held: list[int] = []
    one = budget.Budget(held.append)
    one.hold(10, 50_000)
    one.hold(10, 50_000)
    assert held == [32_000_000, 32_000_000]
    with pytest.raises(NoAnswer, match="1,000,001 values"):
        one.hold(1, 1)
    one.read("x", MOST_POINTS)
    with pytest.raises(NoAnswer, match="x reads every point"):
        one.read("x", 1)
    other = budget.Budget(held.append)
    other.read("x", 0, 50_000)
    with pytest.raises(NoAnswer, match="50,001,000 together with 1,000 for each window"):
        other.read("x", 0, 1)
