"""Turn an integer address into a pointer, inside compiled code: what lets one kernel walk many mapped files."""

from typing import Any

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
