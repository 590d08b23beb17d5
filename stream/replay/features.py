"""The user's own item features: `text.npy` and `image.npy`, row i for row i of the items file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.events import MAX_VECTOR_BYTES
from stream.replay.rows import DatasetError
from stream.replay.tables import Table

FILES = {"text_vector": "text.npy", "image_vector": "image.npy"}
_CHUNK_ROWS = 4_096
_FLOAT16_BYTES = 2


class Features:
    """Vectors of the items, checked as a whole before the first is given out.

    Args:
        folder: where the files lie; each may be missing.
        items: the rows they belong to.

    Raises:
        DatasetError: another number of rows, another type than float, or a number float16 cannot hold.
    """

    def __init__(self, folder: Path, items: Table) -> None:
        self._arrays = {
            field: _load(folder / file, items) for field, file in FILES.items() if (folder / file).is_file()
        }

    def vectors(self, place: int) -> dict[str, bytes]:
        """Fields of an ItemUpsert: little-endian float16 of the items file's row `place`."""
        return {field: array[place].astype("<f2").tobytes() for field, array in self._arrays.items()}


def _load(path: Path, items: Table) -> NDArray[np.floating]:
    try:
        array: NDArray[np.floating] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise DatasetError(f"{path} cannot be read as a NumPy array: {exc}; save it with numpy.save") from exc
    _check_shape(path, array)
    n_rows = items.n_rows()
    if len(array) != n_rows:
        raise DatasetError(f"{path} has {len(array)} rows, {items.path.name} has {n_rows}; row i must belong to row i")
    _check_numbers(path, array)
    return array


def _check_shape(path: Path, array: NDArray[np.floating]) -> None:
    if not isinstance(array, np.ndarray):
        raise DatasetError(f"{path} is an archive of arrays; save the one array with numpy.save")
    if array.dtype.kind != "f":
        raise DatasetError(f"{path} holds {array.dtype}; it must be float16, float32 or float64")
    max_width = MAX_VECTOR_BYTES // _FLOAT16_BYTES
    if array.ndim != 2 or not 1 <= array.shape[1] <= max_width:
        raise DatasetError(f"{path} has shape {array.shape}; it must be (items, 1 to {max_width})")


def _check_numbers(path: Path, array: NDArray[np.floating]) -> None:
    limit = np.finfo(np.float16).max
    for start in range(0, len(array), _CHUNK_ROWS):
        good = np.abs(array[start : start + _CHUNK_ROWS]) <= limit  # false for NaN
        if not good.all():
            row, column = np.argwhere(~good)[0].tolist()
            value = array[start + row, column]
            raise DatasetError(
                f"{path} has {value} in row {start + row}, column {column}; "
                f"numbers must be finite and at most {limit:.0f}, as they are kept as float16"
            )
