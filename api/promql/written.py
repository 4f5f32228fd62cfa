"""Answers as Prometheus writes them: JSON in which each number is a text behind its time in seconds."""

from itertools import compress

import numpy as np
import orjson

from api.promql.catalogue import Labels
from api.promql.evaluate import Steps, Value
from api.promql.vectors import Flags, Floats, Vector

_SIGNED = {np.inf: b"+Inf", -np.inf: b"-Inf"}


def answer(value: Value, steps: Steps, *, ranged: bool, warnings: list[str]) -> bytes:
    """Return the document: a scalar or a vector at one step, or a matrix of all steps."""
    times = [_second(time) for time in steps.times_ms.tolist()]
    if ranged:
        kind, result = "matrix", _matrix(value, times)
    elif isinstance(value, Vector):
        kind, result = "vector", _vector(value, times[0])
    else:
        kind, result = "scalar", b'%s,"%s"]' % (times[0], _texts(value)[0])
    told = b',"warnings":' + orjson.dumps(warnings) if warnings else b""
    return b'{"status":"success","data":{"resultType":"%s","result":%s}%s}' % (kind.encode(), result, told)


def _second(time_ms: int) -> bytes:
    """Return the beginning of a pair: its time in seconds."""
    seconds, ms = divmod(abs(time_ms), 1000)
    return b"[%s%d%s" % (b"-" if time_ms < 0 else b"", seconds, b".%03d" % ms if ms else b"")


def _texts(values: Floats) -> list[bytes]:
    """Return each number as text, with as many digits as it takes to read back the same."""
    # PERF: 0.1 us a value in place of 0.5 in Python.
    found = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    for k in np.flatnonzero(~np.isfinite(values)).tolist():
        found[k] = _SIGNED.get(float(values[k]), b"NaN")
    return found


def _matrix(value: Value, times: list[bytes]) -> bytes:
    if not isinstance(value, Vector):
        return b"[" + _row((), value, np.ones(len(value), dtype=np.bool_), times) + b"]"
    order = sorted(range(len(value.labels)), key=value.labels.__getitem__)
    rows = [_row(value.labels[k], value.values[k], value.there[k], times) for k in order]
    return b"[" + b",".join(rows) + b"]"


def _row(labels: Labels, values: Floats, there: Flags, times: list[bytes]) -> bytes:
    known = times if there.all() else list(compress(times, there.tolist()))
    pairs = b'"],'.join(map(b',"'.join, zip(known, _texts(values[there]), strict=True)))
    return b'{"metric":%s,"values":[%s"]]}' % (orjson.dumps(dict(labels)), pairs)


def _vector(value: Vector, time: bytes) -> bytes:
    texts = _texts(value.values[:, 0]) if value.labels else []
    rows = [
        b'{"metric":%s,"value":%s,"%s"]}' % (orjson.dumps(dict(labels)), time, text)
        for labels, text in zip(value.labels, texts, strict=True)
    ]
    return b"[" + b",".join(rows) + b"]"
