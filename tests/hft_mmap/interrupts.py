"""Raise an exception at a chosen place of a call where Python runs signal handlers, as Ctrl-C and alarms do.

Those places are: after a call, at the begin of a function, and at the jump back of a loop. A tracer sees each of them.
"""

import dis
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

_LOOKS_AFTER = frozenset(
    {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "RESUME", "JUMP_BACKWARD", "FOR_ITER_GEN", "SEND"}
)  # fmt: skip
"""After these instructions the interpreter looks whether a signal has come."""


class Interrupt(BaseException):
    """What the handler of a signal raises."""


class Tracer:
    """Counts the places of one call, and raises Interrupt at the one with the number `place` (from 1)."""

    def __init__(self, place: int) -> None:
        """Prepare."""
        self.where = ""
        self._left = place
        self._before: dict[FrameType, str | None] = {}

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        """Look at one event of the interpreter."""
        if event == "call":
            if frame.f_back in self._before:
                self._before[frame.f_back] = None  # a call of Python code has looked at its own begin
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            self._before[frame] = None
        elif event == "opcode":
            before, self._before[frame] = self._before.get(frame), dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if before in _LOOKS_AFTER:
                self._left -= 1
                if self._left == 0:
                    sys.settrace(None)
                    self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
                    raise Interrupt
        elif event == "return":
            self._before.pop(frame, None)
        return self


def interrupted(call: Callable[[], object], place: int) -> str:
    """Call `call`, interrupted at its place number `place`; return where that was, "" if it has not so many."""
    tracer, before = Tracer(place), sys.gettrace()
    sys.settrace(tracer)
    try:
        with suppress(Interrupt):  # the interpreter passes over one that strikes in the callback of a weak reference
            call()
    finally:
        sys.settrace(before)
    return tracer.where
