"""How kernels are compiled: at their first call, without Python's lock, into Numba's cache.

Importing a kernel costs nothing: Numba itself is imported when the first one runs. No kernel is
compiled with ``fastmath`` and none calls the C library for anything but exact operations, so that
every processor gives the same bits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from daskal.kernels.caching import use_cache

Function = TypeVar("Function", bound=Callable[..., Any])
# What kernels count by: Numba makes no difference between the two.
Whole = int | np.int64

# One thread compiles, and the others wait for what it has compiled.
LOCK = threading.RLock()


class Lazy:
    """What stands for one of Numba's objects until it is called, or compiled into a caller.

    Numba asks a global name that it does not know for its type.
    """

    def __init__(self, function: Callable[..., Any], make: Callable[[Any], Any]) -> None:
        """Keep the function, and what makes Numba's object of it."""
        self.function, self.make = function, make
        self.made: Any = None
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.__module__ = function.__module__

    def resolve(self) -> Any:
        """Return Numba's object."""
        with LOCK:
            if self.made is None:
                self.made = self.make(self.function)
        return self.made

    def __call__(self, *args: Any) -> Any:
        """Run the compiled function."""
        made = self.made
        return (self.resolve() if made is None else made)(*args)

    @property
    def _numba_type_(self) -> Any:
        from numba.core.registry import cpu_target

        return cpu_target.typing_context.resolve_value_type(self.resolve())

    def __reduce__(self) -> str:
        """Travel by name, as functions do."""
        return self.__name__


def compiled(function: Function) -> Function:
    """Return a function that compiles itself for the arguments of its first call."""
    return Lazy(function, compile_function)  # type: ignore[return-value]


def intrinsic(function: Callable[..., Any]) -> Any:
    """Return a function for kernels alone, made of LLVM's instructions."""
    return Lazy(function, make_intrinsic)


def compile_function(function: Any) -> Any:
    """Return Numba's dispatcher of a function."""
    import numba

    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    use_cache(dispatcher)
    return dispatcher


def make_intrinsic(function: Any) -> Any:
    """Return Numba's intrinsic of a function."""
    from numba.core.registry import cpu_target
    from numba.extending import intrinsic as make

    made = make(function)
    # Numba is amid compiling when it asks: it has looked for new intrinsics already.
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    return made


def read_only(x: Any, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Return an array as kernels take those they only read: of one type, so compiled for once.

    It is copied only where it is no aligned array of the dtype in C order.
    """
    view = np.require(x, dtype, ("C", "A")).view()
    view.flags.writeable = False
    return view
