"""How kernels are compiled: at their first call, without Python's lock, into Numba's cache.

Importing a kernel costs nothing: Numba itself is imported when the first one runs. No kernel is
compiled with ``fastmath`` and none calls the C library for anything but exact operations, so that
every processor gives the same bits.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

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

    def __init__(
        self, function: Callable[..., Any], make: Callable[[Any], Any], inner: Lazy | None = None
    ) -> None:
        """Keep the function, what makes Numba's object of it, and what goes into callers."""
        self.function, self.make, self.inner = function, make, inner or self
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

        return cpu_target.typing_context.resolve_value_type(self.inner.resolve())

    def __reduce__(self) -> str:
        """Travel by name, as functions do."""
        return self.__name__


def compiled(function: Function) -> Function:
    """Return a function that compiles itself for the arguments of its first call.

    It allocates nothing, so that nothing counts references: callers hand in room to work in.
    """
    return Lazy(function, compile_function, Lazy(function, compile_inner))  # type: ignore[return-value]


def instruction(function: Callable[..., Any]) -> Any:
    """Return a function for kernels alone, as an intrinsic of Numba's defines it."""
    return Lazy(function, make_intrinsic)


def compile_function(function: Any) -> Any:
    """Return Numba's dispatcher of a function that Python calls."""
    dispatcher = make_dispatcher(function, no_cpython_wrapper=False)
    use_cache(dispatcher)
    return dispatcher


def compile_inner(function: Any) -> Any:
    """Return Numba's dispatcher of a function that goes into compiled ones, which are kept whole.

    What Numba would wrap around it, to be called from Python, takes a fifth of the compiling.
    """
    return make_dispatcher(function, no_cpython_wrapper=True)


def make_dispatcher(function: Any, *, no_cpython_wrapper: bool) -> Any:
    """Return Numba's dispatcher of a function, without what wraps it for C."""
    import numba

    options: Any = {"nogil": True, "error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}
    options["no_cpython_wrapper"] = no_cpython_wrapper
    jit: Any = numba.njit(pipeline_class=make_pipeline(), **options)
    return jit(function)


@functools.cache
def make_pipeline() -> Any:
    """Return Numba's pipeline, but that loops run on the processor's widest vectors.

    Of AVX-512, LLVM uses half by itself, as the first processors that had it slowed down.
    """
    from numba.core import compiler, lowering, typed_passes
    from numba.core.compiler_machinery import register_pass

    class WideLower(lowering.Lower):
        def setup_function(self, described: Any) -> None:
            super().setup_function(described)  # type: ignore[no-untyped-call]
            # llvmlite's own ``add`` takes no attributes of processors.
            set.add(self.function.attributes, '"prefer-vector-width"="512"')

    @register_pass(mutates_CFG=True, analysis_only=False)  # type: ignore[no-untyped-call]
    class WideLowering(typed_passes.NativeLowering):
        _name = "wide_lowering"
        lowering_class = WideLower

    class WideCompiler(compiler.CompilerBase):
        def define_pipelines(self) -> list[Any]:
            build: Any = compiler.DefaultPassBuilder.define_nopython_pipeline
            passes = build(self.state)
            passes.passes = [
                (WideLowering if step is typed_passes.NativeLowering else step, text)
                for step, text in passes.passes
            ]
            passes.finalize()
            return [passes]

    return WideCompiler


def make_intrinsic(function: Any) -> Any:
    """Return Numba's intrinsic of a function."""
    from numba.core.registry import cpu_target
    from numba.extending import intrinsic as make

    made = make(function)
    # Numba is amid compiling when it asks: it has looked for new intrinsics already.
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    return made


def first_holding(x: NDArray[Any], dtypes: tuple[str, ...]) -> NDArray[Any]:
    """Return an array as kernels take it: in C order, in the first of the dtypes that holds it.

    Where none does, it is in the last. It is read only, and copied only where it has to be.
    """
    if is_held(x, dtypes):
        view = x.view()
    else:
        # What is beyond a type becomes infinite, which no check lets pass.
        with np.errstate(over="ignore"):
            view = np.require(x, holding(x.dtype, dtypes), ("C", "A")).view()
    view.flags.writeable = False
    return view


def is_held(x: NDArray[Any], dtypes: tuple[str, ...]) -> bool:
    """Return whether kernels take an array as it is, without a copy."""
    return holding(x.dtype, dtypes) == x.dtype and x.flags.c_contiguous and x.flags.aligned


@functools.cache
def holding(dtype: np.dtype[Any], dtypes: tuple[str, ...]) -> np.dtype[Any]:
    """Return the first of the dtypes that holds the values of another, or else the last."""
    return np.dtype(next((each for each in dtypes if np.can_cast(dtype, each)), dtypes[-1]))


def read_only(x: Any) -> Any:
    """Return a value of a rule as kernels take it, and tuples of such: of one type for all."""
    if isinstance(x, tuple):
        return x._make(map(read_only, x)) if hasattr(x, "_make") else tuple(map(read_only, x))
    if isinstance(x, np.ndarray):
        return first_holding(x, ("i8",) if x.dtype.kind in "iu" else ("f8",))
    if isinstance(x, int | np.integer) and not isinstance(x, bool):
        # The seed of a random choice.
        return np.uint64(int(x) % 2**64)
    return x if isinstance(x, bool) else float(x)
