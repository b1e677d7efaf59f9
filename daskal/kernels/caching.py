"""Numba's cache of the kernels: kept wherever it can be, read wherever it is.

Numba keeps compiled functions in ``NUMBA_CACHE_DIR`` where that is set, otherwise beside the code,
or in the user's cache folder where nobody may write there. By itself it does not read a folder that
cannot be written to, such as that of an image which has been warmed up.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import logging
import sys
from pathlib import Path
from typing import Any

logger = logging.getLogger("daskal.kernels")

FOLDER = Path(__file__).parent
COMPILING = "Compiling the kernels, once on this machine ..."
NOT_KEPT = (
    "Compiling the kernels for this process alone: no folder can keep them. Set NUMBA_CACHE_DIR to "
    "one that can be written to ..."
)


@functools.cache
def kernels_stamp() -> tuple[tuple[str, str], ...]:
    """Return what changes whenever the file of a kernel does.

    It does not change with a file's time, which images and copies round.
    """
    return tuple(
        (file.name, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in sorted(FOLDER.glob("*.py"))
    )


def use_cache(dispatcher: Any) -> None:
    """Have Numba keep in its cache what it compiles, and say that it compiles."""
    say_when_compiling()
    try:
        dispatcher._cache = cache_class()(dispatcher.py_func)
    except RuntimeError:
        # A function of no file.
        return


@functools.cache
def cache_class() -> Any:
    """Return the class of a kernel's cache."""
    # As modules of no type: what is taken from them is not all public.
    caching: Any = importlib.import_module("numba.core.caching")
    config: Any = importlib.import_module("numba.core.config")

    class Unwritable:
        """The folder beside the code, taken where no folder can be written to."""

        def __init__(self, function: Any, file: str) -> None:
            self.line = function.__code__.co_firstlineno

        @classmethod
        def from_function(cls, function: Any, file: str) -> Unwritable | None:
            return cls(function, file) if Path(file).exists() else None

        def get_cache_path(self) -> str:
            return str(FOLDER / "__pycache__")

        def get_source_stamp(self) -> Any:
            return kernels_stamp()

        def get_disambiguator(self) -> str:
            return str(self.line)

    class Implementation(caching.CompileResultCacheImpl):  # type: ignore[misc]
        _locator_classes = (*caching.CompileResultCacheImpl._locator_classes, Unwritable)

    class Files(caching.IndexDataCacheFile):  # type: ignore[misc]
        """A kernel's files: its own, then those in folders that are only read."""

        def __init__(self, folder: str, name: str, stamp: Any, others: tuple[str, ...]) -> None:
            super().__init__(folder, name, stamp)
            self.others = [caching.IndexDataCacheFile(each, name, stamp) for each in others]

        def load(self, key: Any) -> Any:
            try:
                found = super().load(key)
            except (AttributeError, ImportError):
                # The cache of another version tells of types that are no more.
                self.flush()
                found = None
            for files in self.others:
                if found is not None:
                    break
                with contextlib.suppress(OSError, AttributeError, ImportError):
                    found = files.load(key)
            return found

    class KernelCache(caching.FunctionCache):  # type: ignore[misc]
        _impl_class = Implementation

        def __init__(self, function: Any) -> None:
            super().__init__(function)
            self.is_kept = not isinstance(self._impl.locator, Unwritable)
            file = function.__code__.co_filename
            folders = [str(FOLDER / "__pycache__")]
            if config.CACHE_DIR:
                # Of all the functions in a folder, whichever way their cache is found.
                inner = Implementation._locator_classes[0].get_suitable_cache_subpath(file)
                folders.insert(0, str(Path(config.CACHE_DIR) / inner))
            # By itself, Numba compiles a function anew only where its own file has changed, and not
            # where a function has that it calls.
            own, *others = dict.fromkeys([self.cache_path, *folders])
            self._cache_file = Files(own, self._impl.filename_base, kernels_stamp(), tuple(others))

        def save_overload(self, sig: Any, data: Any) -> None:
            # What cannot be kept is compiled once more by others, and that is all.
            with contextlib.suppress(OSError):
                if self.is_kept:
                    super().save_overload(sig, data)

        def folder(self) -> str | None:
            """Return where the kernel is for this processor, without loading it."""
            registry: Any = importlib.import_module("numba.core.registry")
            processor = registry.cpu_target.target_context.codegen().magic_tuple()
            for files in (self._cache_file, *self._cache_file.others):
                with contextlib.suppress(OSError, AttributeError, ImportError):
                    if any(key[1] == processor for key in files._load_index()):
                        return str(files._cache_path)
            return None

    return KernelCache


@functools.cache
def say_when_compiling() -> None:
    """Have it said when a kernel is compiled that is in no cache, once in a process."""
    events: Any = importlib.import_module("numba.core.event")

    class Teller(events.Listener):  # type: ignore[misc]
        def on_start(self, event: Any) -> None:
            dispatcher = event.data["dispatcher"]
            if isinstance(dispatcher._cache, cache_class()):
                say_compiling(dispatcher._cache.is_kept)

        def on_end(self, event: Any) -> None:
            pass

    events.register("numba:compile", Teller())


@functools.cache
def say_compiling(is_kept: bool) -> None:
    """Log that kernels are compiled; at a prompt or in a notebook, show it to who waits."""
    text = COMPILING if is_kept else NOT_KEPT
    if hasattr(sys, "ps1") and not logger.isEnabledFor(logging.INFO):
        # Nobody has asked for logs, or for none.
        silenced = any(logging.getLogger(name).level for name in ("daskal", "daskal.kernels"))
        if logging.lastResort is not None and not silenced:
            record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, (), None)
            logging.lastResort.handle(record)
        return
    logger.info(text)
