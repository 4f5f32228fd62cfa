"""Reach memory by an integer address, inside compiled code: what lets one kernel walk many mapped files."""

from typing import Any

from llvmlite import ir
from numba import float64, int64, types
from numba.extending import intrinsic


def _pointer_to(element: Any) -> Any:
    """Return a compiled function from an int64 address to a pointer to `element`."""

    def cast(_typing: Any, _address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(int64), generate

    return intrinsic(cast)


float64_pointer = _pointer_to(float64)
int64_pointer = _pointer_to(int64)


def _as(element: Any, of: Any) -> Any:
    """Return a compiled function from the bits of one number of 8 bytes to another."""

    def cast(_typing: Any, _bits: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

        return element(of), generate

    return intrinsic(cast)


float64_bits = _as(int64, float64)
float64_of = _as(float64, int64)


@intrinsic
def load_word(_typing: Any, _address: Any) -> Any:
    """Load the int64 at an aligned address, one that another process may store at any time, before whatever follows.

    An atomic load with acquire order, so that neither compiler nor processor takes it from an earlier look or moves a
    later one before it; on x86-64 that is an ordinary load.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = context.get_value_type(signature.return_type).as_pointer()
        return builder.load_atomic(builder.inttoptr(arguments[0], pointer), "acquire", 8)

    return int64(int64), generate


@intrinsic
def prefetch(_typing: Any, _address: Any) -> Any:
    """Ask for the cache line at an address, which is read soon; it changes nothing but the time that reading takes."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
        name = "llvm.prefetch.p0"
        known = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        builder.call(known, [pointer, word(0), word(3), word(1)])  # for a read, to be kept, of data
        return context.get_dummy_value()

    return types.void(int64), generate
