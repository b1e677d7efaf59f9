"""NumPy's files: rows of an array in .npy are read where they are, .npz is read as a whole."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from daskal.errors import InputError
from daskal.storage.files import read_file
from daskal.storage.redaction import redacted
from daskal.tables.kinds import HEAD_BYTES, NPY, NPZ, foreign_content
from daskal.text import listed

HEADER_BYTES = 2**16


@dataclass(frozen=True)
class NpyMatrix:
    """An array in a .npy file, which workers read by rows: nothing else of it is in memory."""

    file_system: Any
    file: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    fortran: bool

    @property
    def edges(self) -> NDArray[np.int64] | None:
        """None: rows may be cut anywhere."""
        return None

    @property
    def held_bytes(self) -> int:
        """Most bytes held beside the rows that are wanted."""
        return 0

    def read(self, name: str, start: int, stop: int, row_axis: int = 0) -> NDArray[Any]:
        """Return some rows."""
        # In the file, axes go from the slowest to the fastest, or the other way round.
        shape = self.shape[::-1] if self.fortran else self.shape
        axis = len(shape) - 1 - row_axis if self.fortran else row_axis
        count, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :]) * self.dtype.itemsize
        part = (*shape[:axis], stop - start, *shape[axis + 1 :])
        values = np.empty(part, dtype=self.dtype)

        def read(opened: Any) -> None:
            flat: Any = values.reshape(-1).view(np.uint8)
            buffer = memoryview(flat)
            length = (stop - start) * inner
            for at in range(count if length else 0):
                opened.seek(self.offset + (at * shape[axis] + start) * inner)
                place = buffer[at * length : (at + 1) * length]
                if opened.readinto(place) < length:
                    raise EOFError("the file is shorter than its header says")

        read_file(name, self.file_system, self.file, read)
        return values.T if self.fortran else values

    def identity(self) -> dict[str, Any]:
        """Return what identifies the array, from metadata alone."""
        url = redacted(self.file_system.unstrip_protocol(self.file))
        return {"url": url, "shape": list(self.shape), "dtype": str(self.dtype)}


def open_npy(name: str, file_system: Any, file: str) -> NpyMatrix:
    """Return the array in a .npy file, of which the header is read."""

    def read(opened: Any) -> NpyMatrix:
        head = opened.read(HEADER_BYTES)
        content = io.BytesIO(head)
        try:
            version = npy_format.read_magic(content)
            reader = {
                (1, 0): npy_format.read_array_header_1_0,
                (2, 0): npy_format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = reader(content)
        except (ValueError, KeyError) as error:
            raise foreign_content(name, file, NPY, head) from error
        if dtype.hasobject:
            raise InputError(
                f"{name}: expected an array of numbers, got {redacted(file)}, which holds Python "
                "objects: reading them could run any code. Save it as numbers."
            )
        offset = content.tell()
        needed = offset + math.prod(shape) * dtype.itemsize
        if opened.seek(0, 2) < needed:
            raise foreign_content(name, file, NPY, head)
        return NpyMatrix(file_system, file, tuple(shape), dtype, offset, fortran)

    return read_file(name, file_system, file, read)


def load_npz(name: str, file_system: Any, file: str) -> NDArray[Any]:
    """Return the one array in a .npz file."""

    def read(opened: Any) -> NDArray[Any]:
        try:
            loaded = np.load(opened, allow_pickle=False)
        except (EOFError, ValueError, BadZipFile) as error:
            opened.seek(0)
            raise foreign_content(name, file, NPZ, opened.read(HEAD_BYTES)) from error
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise InputError(
                f"{name}: expected {NPZ}, got {redacted(file)}, which holds {NPY}.",
                advice="Give it the ending .npy.",
            )
        with loaded as arrays:
            if len(arrays.files) != 1:
                raise InputError(
                    f"{name}: expected one array in {redacted(file)}, got "
                    f"{len(arrays.files)} ({listed(map(repr, arrays.files))}). Save the one wanted "
                    "with numpy.save(name, array)."
                )
            found: NDArray[Any] = arrays[arrays.files[0]]
            return found

    return read_file(name, file_system, file, read)


def load_npy(name: str, file_system: Any, file: str) -> NDArray[Any]:
    """Return a whole array in a .npy file, of numbers or of text."""

    def read(opened: Any) -> NDArray[Any]:
        found: NDArray[Any] = np.load(opened, allow_pickle=False)
        return found

    return read_file(name, file_system, file, read)
