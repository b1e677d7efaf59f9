"""The errors and warnings daskal raises: everything a user can cause is a :class:`DaskalError`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# An argument in advice, such as {overwrite=True}.
ARGUMENT = re.compile(r"\{([^{}]+)\}")
PYTHON: Mapping[str, str] = {}


def name_arguments(advice: str, names: Mapping[str, str]) -> str:
    """Return advice with other names for its arguments, Python's where a name is lacking."""
    return ARGUMENT.sub(lambda found: names.get(found[1], found[1]), advice)


class DaskalError(ValueError):
    """Base of all errors of daskal, caused by the caller's input or environment.

    Every kind takes one message, which says what was expected, what came and what to do, so that
    all of them cross process borders unchanged. If the message ends in advice to pass some
    argument, ``advice`` holds that end with the argument in braces: ``"Pass {overwrite=True}."``

    Examples
    --------
    >>> import numpy as np, daskal
    >>> try:
    ...     daskal.score_unlabeled(np.full((4, 1), 1.0))
    ... except daskal.DaskalError as error:
    ...     print(type(error).__name__)
    InputError
    """

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(f"{message} {name_arguments(advice, PYTHON)}" if advice else message)
        self.advice = advice

    def __reduce__(self) -> tuple[Any, ...]:
        # Without this, tblib, with which Dask pickles errors, takes an error with its own __init__
        # apart in a way that it cannot undo if the error is also an OSError.
        return type(self), self.args, self.__dict__

    def with_names(self, names: Mapping[str, str]) -> str:
        """Return the message, with other names for the arguments in its advice."""
        return str(self).removesuffix(name_arguments(self.advice, PYTHON)) + name_arguments(
            self.advice, names
        )


class InputError(DaskalError):
    """Arrays whose structure does not fit: rank, shape, dtype, chunks, number of classes."""


class ArgumentTypeError(DaskalError, TypeError):
    """An argument of a type that does not belong there."""


class MissingColumnError(DaskalError, KeyError):
    """A table without a column that it needs."""

    # KeyError would show the message in quotes.
    __str__ = Exception.__str__


class InvalidDataError(DaskalError):
    """Invalid values found while the data was read: the message names array, rows and count."""


class EstimateError(DaskalError):
    """An estimate that cannot be read, was changed, or does not fit the arrays it is used with."""


class MissingPathError(DaskalError, FileNotFoundError):
    """Nothing is stored under the path or URL given."""


class StorageError(DaskalError):
    """A store that cannot be reached, read or written."""


class ChangedInputError(StorageError):
    """An input that was not the same each time a run read it."""


class StoreExistsError(DaskalError, FileExistsError):
    """The result store is there already, and neither ``overwrite`` nor ``resume`` was given."""


class UnfinishedStoreError(DaskalError):
    """A result store whose run has not finished."""


class ResumeError(DaskalError):
    """A run that cannot be resumed: its inputs or options are not those it was begun with."""


class MemoryLimitError(DaskalError):
    """A plan whose projected peak is above the memory limit."""


class BlockError(DaskalError):
    """A block that failed on a worker: the message names the block, its rows and the array."""


class ClusterError(DaskalError):
    """Workers that cannot do the work: no daskal, or another version of it."""


class LostWorkersError(ClusterError):
    """Workers that died again and again on the same block."""


class DataWarning(UserWarning):
    """Data that is accepted but that its owner should know about.

    Examples
    --------
    >>> import warnings, daskal
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", daskal.DataWarning)  # stop at what is only a warning
    ...     scores = daskal.score_unlabeled([[0.9, 0.1], [0.5, 0.5]])
    """
