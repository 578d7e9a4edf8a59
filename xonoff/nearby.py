"""Arrays on the pixels around a source, kept in memory with all values of a pixel next to each other."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from xonoff.rings import ALIGNED

__all__ = ["Nearby"]

Floats: TypeAlias = npt.NDArray[np.float64]


class Nearby:
    """Values of pixels, read a window at a time.

    A source that moves asks for much the same pixels again and again: the window is somewhat larger than what was
    asked for, and read anew only when it no longer holds that.

    Parameters
    ----------
    read : callable
        Gives the values (y, x, value) of rows and columns, two slices.
    shape : (int, int)
        Pixels of the map.

    Examples
    --------
    >>> image = np.arange(12.0).reshape(3, 4, 1)
    >>> Nearby(lambda rows, columns: image[rows, columns], (3, 4)).take(np.array([0, 7])).tolist()
    [[0.0], [7.0]]
    """

    def __init__(self, read: Callable[[slice, slice], Floats], shape: tuple[int, int]) -> None:
        self._read, self._shape = read, shape
        self._rows = self._columns = slice(0, 0)
        self._values = np.zeros((0, 0))

    def take(self, pixels: npt.NDArray[np.intp]) -> Floats:
        """Values (pixel, value) of pixels, by their numbers in the raveled map."""
        values, rows = self.rows(pixels)
        found: Floats = values[rows]
        return found

    def rows(self, pixels: npt.NDArray[np.intp]) -> tuple[Floats, npt.NDArray[np.intp]]:
        """Values of all pixels in memory, and which of their rows are those of some pixels: `take` without a copy."""
        row, column = np.divmod(pixels, self._shape[1])
        if pixels.size and not (_holds(self._rows, row) and _holds(self._columns, column)):
            window = self.window(pixels)
            self.hold(*window, self._read(*window))
        width = self._columns.stop - self._columns.start
        return self._values, (row - self._rows.start) * width + column - self._columns.start

    def window(self, pixels: npt.NDArray[np.intp]) -> tuple[slice, slice]:
        """Rows and columns that would be read for some pixels."""
        row, column = np.divmod(pixels, self._shape[1])
        return _around(row, self._shape[0]), _around(column, self._shape[1])

    def hold(self, rows: slice, columns: slice, values: Floats) -> None:
        """Keep the values (y, x, value) of a window, which someone else has read."""
        self._rows, self._columns = rows, columns
        self._values = np.ascontiguousarray(values).reshape(-1, values.shape[-1])


def _holds(part: slice, numbers: npt.NDArray[np.intp]) -> bool:
    return bool(part.start <= numbers.min() and numbers.max() < part.stop)


def _around(numbers: npt.NDArray[np.intp], n: int) -> slice:
    low, high = int(numbers.min()), int(numbers.max()) + 1
    return slice(low // ALIGNED * ALIGNED, min(-(-high // ALIGNED) * ALIGNED, n))
