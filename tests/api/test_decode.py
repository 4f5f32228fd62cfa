"""The body of POST /add_batch: all readers take the same batches, and refuse the same bodies alike."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.body.decode import PIECE_BYTES, QUICK_BYTES, Batch, Decoder
from api.http.problems import Refusal
from hft_mmap import Ticks

BAD = HTTPStatus.BAD_REQUEST
WRONG = HTTPStatus.UNPROCESSABLE_ENTITY
MANY = 200_000
# More numbers than fit into one piece, and a body that quick does not even look at.
LONG = ",".join(["150.25"] * 40_000)
assert len(LONG) > QUICK_BYTES > PIECE_BYTES


def decode(body: bytes | str, *, decoder: Decoder | None = None, max_values: int = MANY) -> Batch:
    """Decode as the resource does: quickly if possible, else carefully."""
    reader = decoder or Decoder(max_values)
    data = body.encode() if isinstance(body, str) else body
    return reader.quick(data) or carefully(data, reader)


def carefully(data: bytes, decoder: Decoder | None = None) -> Batch:
    """Decode without the quick reader."""
    symbol, values, offset = asyncio.run((decoder or Decoder(MANY)).decode_rows(data))
    assert not isinstance(values, Ticks)
    return symbol, values, offset


def refusal(body: bytes | str, *, max_values: int = MANY) -> Refusal:
    """Return what decoding `body` raises."""
    with pytest.raises(Refusal) as caught:
        decode(body, max_values=max_values)
    return caught.value


def body_of(numbers: str) -> str:
    """Return a body with this text as its list of values."""
    return f'{{"symbol":"ABC-USD","values":[{numbers}]}}'


def outcome(body: bytes) -> type[str] | HTTPStatus:
    """Return the type of the symbol that was decoded, or the status of the refusal."""
    try:
        return type(decode(body)[0])
    except Refusal as error:
        return error.status


finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(finite, st.integers(-(2**70), 2**70), st.integers(0, 10**300))


@given(st.lists(finite, min_size=1))
def test_floats_arrive_bit_for_bit(values: list[float]) -> None:
    """What a client's JSON library writes for a float64 is read as that float64, -0.0 included."""
    symbol, array, offset = decode(json.dumps({"symbol": "A", "values": values}))
    assert (symbol, offset, array.dtype) == ("A", None, np.dtype(np.float64))
    assert array.tobytes() == np.array(values).tobytes()


@given(st.lists(numbers, min_size=1))
def test_every_reader_reads_the_same_numbers(values: list[float]) -> None:
    """Integers of any size and floats become the nearest float64, in all three readers."""
    text = ",".join(map(repr, values))
    expected = np.array([float(value) for value in values])
    padding = " " * QUICK_BYTES
    for body in (body_of(text), body_of(text + padding)):
        assert decode(body)[1].tobytes() == expected.tobytes()
        assert carefully(body.encode())[1].tobytes() == expected.tobytes()


@given(st.from_regex(r"(0|[1-9][0-9]{0,40})(\.[0-9]{1,60})?([eE][+-]?[0-9]{1,2})?", fullmatch=True))
def test_decimals_are_rounded_correctly(literal: str) -> None:
    """A decimal of any length becomes the float64 nearest to it, as Python's own float() has it."""
    assert decode(body_of(literal))[1].tolist() == [float(literal)]
    assert carefully(body_of(literal).encode())[1].tolist() == [float(literal)]


@pytest.mark.parametrize("count", [1, 10, 1000, 9000, 30_000, 100_000])
def test_batches_of_every_size_arrive_whole_and_in_order(count: int) -> None:
    """From one value to more than fit into a piece, with full precision."""
    values = np.random.default_rng(count).uniform(100, 200, count)
    body = json.dumps({"symbol": "A", "values": values.tolist(), "offset": 7})
    symbol, array, offset = decode(body)
    assert (symbol, offset) == ("A", 7)
    assert array.tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "body",
    [
        '{"symbol":"A","values":[1,2.5]}',
        '{"values":[1,2.5],"symbol":"A"}',
        ' \n{ "symbol" : "A" ,\t"values" : [ 1 , 2.5 ] }\r\n',
        '{"\\u0073ymbol":"\\u0041","values":[1,25e-1]}',
        '\ufeff{"symbol":"A","values":[1,2.5]}',
        f'{{"symbol":"A","values":[1,{" " * QUICK_BYTES}2.5]}}',
        f'{{"values":[1,2.5{" " * QUICK_BYTES}],"symbol":"A"}}',
        f'\ufeff{{"values":[1,2.5{" " * QUICK_BYTES}],"symbol":"A"}}',
    ],
)
def test_spelling_does_not_matter(body: str) -> None:
    """Order of fields, white space, escapes and a byte order mark change nothing."""
    symbol, array, offset = decode(body)
    assert (symbol, array.tolist(), offset) == ("A", [1.0, 2.5], None)


@pytest.mark.parametrize("symbol", ["EUR/USD", "日本円-USD", "[X]", "a:b", 'q"uote', "back\\slash", "€", "💶", "{}"])
@pytest.mark.parametrize("padding", ["", " " * QUICK_BYTES])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_symbols_arrive_as_they_are(symbol: str, padding: str, *, ascii_only: bool) -> None:
    """Brackets, colons, quotes and characters above 16 bits, escaped or not."""
    text = json.dumps(symbol, ensure_ascii=ascii_only)
    assert decode(f'{{"symbol":{text},"values":[1{padding}]}}')[0] == symbol
    assert decode(f'{{"values":[18446744073709551616{padding}],"symbol":{text}}}')[0] == symbol


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("null", "null"),
        ("true", "a boolean"),
        ("false", "a boolean"),
        ('"2"', "a string"),
        ('""', "a string"),
        ("{}", "an object"),
        ('{"a":[1]}', "an object"),
        ("[]", "a list"),
        ("[2]", "a list"),
        ("[[2],[3]]", "a list"),
    ],
)
@pytest.mark.parametrize("before", ["1,2", "18446744073709551616,1"])
def test_what_is_no_number_is_named_by_its_place(before: str, value: str, name: str) -> None:
    """The refusal says which value it was and what it is."""
    for text in (f"{before},{value}", f"{before},{value},3"):
        error = refusal(body_of(text))
        assert (error.status, error.detail) == (WRONG, f"values[2] must be a number, not {name}")


@pytest.mark.parametrize(("value", "name"), [("null", "null"), ("true", "a boolean"), ('"2"', "a string")])
def test_in_a_large_body_it_is_named_too(value: str, name: str) -> None:
    """The pieces before it are counted."""
    error = refusal(body_of(f"{LONG},{value},{LONG}"))
    assert (error.status, error.detail) == (WRONG, f"values[40000] must be a number, not {name}")


def test_a_list_in_a_large_body_is_refused() -> None:
    """Nothing is flattened, wherever the list stands and however the pieces are cut."""
    for text in (f"[1],{LONG}", f"{LONG},[1]", f"{LONG},[1,2],{LONG}", f"[{LONG}]", f"{LONG},[],{LONG}"):
        assert refusal(body_of(text)).status == WRONG


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ("", BAD, "Malformed JSON"),
        (" ", BAD, "Malformed JSON"),
        ("{", BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[1]', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[1]}}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[1,]}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[,1]}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[1],}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[01]}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[+1]}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[.5]}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[1.]}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[0x10]}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[NaN]}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[Infinity]}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[-Infinity]}', BAD, "Malformed JSON"),
        ('{"symbol":"A","values":[1e999]}', BAD, "infinity"),
        ('{"symbol":"A","values":[-1e999]}', BAD, "infinity"),
        ('{"symbol":"A","values":[1] /* no */}', BAD, "Malformed JSON"),
        ("{'symbol':'A','values':[1]}", BAD, "Malformed JSON"),
        ('{"symbol":"\\ud800","values":[1]}', BAD, "Malformed JSON"),
        (b'{"symbol":"\xff","values":[1]}', BAD, "Malformed JSON"),
        (b'{"symbol":"\xed\xa0\x80","values":[1]}', BAD, "Malformed JSON"),
        ('{"symbol":"A\n","values":[1]}', BAD, "Malformed JSON"),
        ("[" * 60_000, BAD, "Malformed JSON"),
        ('{"symbol":"A","values":' + "[" * 2000 + "]" * 2000 + "}", BAD, "Malformed JSON"),
        ("null", WRONG, "must be an object"),
        ("[]", WRONG, "must be an object"),
        ('[{"symbol":"A","values":[1]}]', WRONG, "must be an object"),
        ('"text"', WRONG, "not a string"),
        ("12", WRONG, "not a number"),
        ("{}", WRONG, "symbol is missing"),
        ('{"symbol":"A"}', WRONG, "values is missing"),
        ('{"values":[1]}', WRONG, "symbol is missing"),
        ('{"symbol":null,"values":[1]}', WRONG, "symbol must be a string, not null"),
        ('{"symbol":1,"values":[1]}', WRONG, "symbol must be a string, not a number"),
        ('{"symbol":["A"],"values":[1]}', WRONG, "symbol must be a string, not a list"),
        ('{"symbol":"A","values":1}', WRONG, "values must be a list of numbers, not a number"),
        ('{"symbol":"A","values":"1"}', WRONG, "values must be a list of numbers, not a string"),
        ('{"symbol":"A","values":null}', WRONG, "values must be a list of numbers, not null"),
        ('{"symbol":"A","values":{"0":1}}', WRONG, "values must be a list of numbers, not an object"),
        ('{"symbol":"A","values":[1],"price":1}', WRONG, "Unknown field 'price'"),
        ('{"Symbol":"A","values":[1]}', WRONG, "Unknown field 'Symbol'"),
        ('{"symbol":"A","values":[1],"offset":null}', WRONG, "offset must be a whole number, not null"),
        ('{"symbol":"A","values":[1],"offset":"1"}', WRONG, "offset must be a whole number, not a string"),
        ('{"symbol":"A","values":[1],"offset":1.5}', WRONG, "offset must be a whole number, not 1.5"),
        ('{"symbol":"A","values":[1],"offset":true}', WRONG, "offset must be a whole number, not a boolean"),
        ('{"symbol":"A","values":[1],"offset":-1}', BAD, "offset must be from 0"),
        ('{"symbol":"A","values":[1],"offset":9223372036854775808}', BAD, "offset must be from 0"),
        ('{"symbol":"A","symbol":"A","values":[1]}', BAD, "twice"),
        ('{"symbol":"A","symbol":"B","values":[1]}', BAD, "twice"),
        ('{"symbol":"A","values":[1],"values":[1]}', BAD, "twice"),
        ('{"symbol":"A","values":[[1]],"values":[1]}', BAD, "twice"),
        ('{"symbol":"a:b","values":[1],"\\u0073ymbol":"a\\u003ab"}', BAD, "twice"),
        ('{"symbol":"A","values":[1],"offset":1,"offset":1}', BAD, "twice"),
    ],
)
def test_a_body_that_is_no_batch_is_refused(body: bytes | str, status: HTTPStatus, part: str) -> None:
    """400 for what is no JSON or says a thing twice, 422 for JSON that is no batch; the text says which."""
    error = refusal(body)
    assert (error.status, part in error.detail) == (status, True), error.detail


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (f'{{"symbol":"A","values":[{LONG}', BAD),
        (f'{{"symbol":"A","values":[{LONG}]', BAD),
        (f'{{"symbol":"A","values":[{LONG},]}}', BAD),
        (f'{{"symbol":"A","values":[,{LONG}]}}', BAD),
        (f'{{"symbol":"A","values":[{LONG},,{LONG}]}}', BAD),
        (f'{{"symbol":"A","values":[{LONG},1 2,{LONG}]}}', BAD),
        (f'{{"symbol":"A","values":[{LONG},NaN]}}', BAD),
        (f'{{"symbol":"A","values":[{LONG},1e999]}}', BAD),
        (f'{{"symbol":"A","values":[{LONG}]}}x', BAD),
        (f'{{"symbol":"A","values":[{LONG}],"values":[1]}}', BAD),
        (f'{{"symbol":"A","values":[{LONG}],"symbol":"A"}}', BAD),
        (f'{{"symbol":"A","values":[{"1" * 4 * PIECE_BYTES}]}}', BAD),
        (f'{{"symbol":"A","values":[{LONG},{"1" * 4 * PIECE_BYTES}]}}', BAD),
        (f'{{"values":[{LONG}]}}', WRONG),
        (f'{{"symbol":1,"values":[{LONG}]}}', WRONG),
        (f'{{"symbol":"A","values":[{LONG}],"price":1}}', WRONG),
        (f'{{"symbol":"A","values":[{LONG}],"offset":"1"}}', WRONG),
        (f'{{"symbol":"{"A" * QUICK_BYTES}","values":[1]}}', WRONG),
        (f'{{"symbol":"A","values":"{LONG}"}}', WRONG),
        (f"[{LONG}]", WRONG),
        (f'"{LONG}"', WRONG),
        ("{" * QUICK_BYTES * 2, WRONG),
    ],
)
def test_a_large_body_that_is_no_batch_is_refused(body: str, status: HTTPStatus) -> None:
    """The reader in pieces judges as the strict one does."""
    assert refusal(body).status == status


@pytest.mark.parametrize("count", [11, 12, 30_000, 60_000])
def test_too_many_values_are_refused(count: int) -> None:
    """A body of any size says how many there are, how many may be, and what to do."""
    error = refusal(body_of(",".join(["1.25"] * count)), max_values=10)
    assert error.status == BAD
    assert error.detail.startswith(f"values has {count} numbers; a batch has at most 10 ")


def test_an_empty_batch_is_for_the_store_to_refuse() -> None:
    """No reader calls it malformed."""
    for text in ("", " " * QUICK_BYTES):
        assert len(decode(body_of(text))[1]) == 0


def test_as_many_values_as_allowed_are_taken() -> None:
    """The limit itself is allowed, in every reader."""
    for count in (10, 100_000):
        text = ",".join(["1.25"] * count)
        assert len(decode(body_of(text), max_values=count)[1]) == count
        assert len(decode(body_of(text + " " * QUICK_BYTES), max_values=count)[1]) == count


def test_a_refused_body_does_not_slow_the_next_one() -> None:
    """The parser is free again at once, also while the refusal is still being told."""
    decoder = Decoder(10)
    kept = []
    for body in (
        body_of("1,null"),
        body_of("[1],[2]"),
        '{"symbol":"A"}',
        "[1]",
        body_of(",".join("1" * 11)),
        body_of("1e999"),
    ):
        with pytest.raises(Refusal) as caught:
            decode(body, decoder=decoder)
        kept.append(caught.value)
        assert decoder.quick(body_of("1,2").encode()) is not None
    assert len(kept) == 6


def test_the_quick_reader_takes_the_usual_batch() -> None:
    """Nothing of a batch as clients send it is left to a slower reader; a quarter of a megabyte is."""
    decoder = Decoder(MANY)
    for body in (
        body_of("1"),
        body_of("1,2.5"),
        '{"offset":3,"values":[1],"symbol":"A"}',
        json.dumps({"symbol": "A", "values": [1.5] * 10_000}),
    ):
        assert decoder.quick(body.encode()) is not None
    assert decoder.quick(body_of(LONG).encode()) is None


def model(text: str) -> HTTPStatus | tuple[str, list[float], int | None]:
    """Return what must become of a well-formed JSON text, by the rules written out one by one."""
    pairs: list[list[tuple[str, Any]]] = []

    def note(found: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs.append(found)
        return dict(found)

    document = json.loads(text, object_pairs_hook=note)
    if not isinstance(document, dict) or not {"symbol", "values"} <= set(document) <= {"symbol", "values", "offset"}:
        return WRONG
    symbol, values, offset = document["symbol"], document["values"], document.get("offset", 0)
    if type(symbol) is not str or type(values) is not list or any(type(value) not in (int, float) for value in values):
        return WRONG
    if type(offset) is not int:
        return WRONG
    if not 0 <= offset < 2**63 or len(pairs[-1]) != len(document):
        return BAD
    return symbol, [float(value) for value in values], document.get("offset")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
any_json = st.recursive(
    # A bracket in a string is told from the end of a list only by the readers of small bodies.
    st.none() | st.booleans() | numbers | texts.map(lambda text: text.replace("[", "(").replace("]", ")")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "values"]), inner, max_size=2),
    max_leaves=8,
)
members = st.one_of(
    st.tuples(st.just("symbol"), texts | st.just("values") | any_json),
    st.tuples(st.just("values"), st.lists(numbers) | st.lists(any_json, max_size=3) | any_json),
    st.tuples(st.just("offset"), st.integers(0, 2**64 - 1) | any_json),
    st.tuples(texts, any_json),
)


@given(st.lists(members, max_size=4), st.booleans())
@example([("symbol", "A"), ("values", [{"a": None, "values": None}])], True)
@example([("symbol", "A"), ("values", [1, "a,b"])], True)
def test_every_object_is_judged_as_the_rules_say(found: list[tuple[str, Any]], large: bool) -> None:  # noqa: FBT001
    """Any fields in any order, repeated or not, with any values: the status or the batch of the model."""
    # Of two faults a reader may tell either; the one in pieces sees a repeated field before it sees the values.
    large = large and len(dict(found)) == len(found)
    written = []
    for name, value in found:
        text = json.dumps(value)
        if large and name == "values" and isinstance(value, list):
            large = False
            text = f"[{' ' * QUICK_BYTES}{text[1:]}"
        written.append(f"{json.dumps(name)}:{text}")
    body = "{" + ",".join(written) + "}"
    expected = model(body)
    if isinstance(expected, tuple):
        symbol, array, offset = decode(body)
        assert (symbol, array.tolist(), offset) == expected
    else:
        assert refusal(body).status == expected


@given(st.binary(max_size=200) | st.text().map(lambda text: body_of(text).encode("utf-8", "surrogatepass")))
def test_no_bytes_whatever_break_it(data: bytes) -> None:
    """Anything is a batch or a refusal with 400 or 422, never another exception."""
    for body in (data, data + b" " * QUICK_BYTES):
        assert outcome(body) in (str, BAD, WRONG)
