"""Plain images of a FITS file as lazy arrays, and the scaling from stored to physical values.

A selection that is one run of bytes (the whole image, a slab of leading axes) is read in pieces that stay in the
cache, each converted on the way, by two threads when it is large; any other selection goes through a memory map, which
reads no more than the pages it needs.

References
----------
FITS standard 4.0: images section 5 and 7.1, scaling section 4.4.2.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from xonoff.io.bytesource import Source
from xonoff.io.cards import Cards

__all__ = ["IMAGE_DTYPES", "ImageArray", "Scaling"]

IMAGE_DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
PIECE_BYTES = 1 << 19  # half of a common second-level cache
THREADED_BYTES = 8 << 20

Elementwise = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Scaling:
    """From stored to physical values: ``stored * scale + zero``, and NaN for `blank`.

    The FITS way to store the other signedness (scale 1, zero half the range) is a flip of the top bit, and exact.
    Integers with any other scale, or with a blank value, become float64.

    Attributes
    ----------
    stored : numpy dtype
        Big-endian.
    scale, zero : float
    blank : int, optional

    Examples
    --------
    >>> Scaling(np.dtype(">i2"), zero=32768)(np.array([-32768, 7], ">i2"))
    array([    0, 32775], dtype=uint16)
    """

    stored: np.dtype[Any]
    scale: float = 1
    zero: float = 0
    blank: int | None = None

    @classmethod
    def of(cls, cards: Cards, stored: str, scale: str, zero: str, blank: str) -> "Scaling":
        """Scaling by the cards that have the names `scale`, `zero` and `blank`.

        Raises
        ------
        FormatError
            A card is no number, the scale is 0, or the blank value is not one of the stored type.
        """
        dtype = np.dtype(stored)
        bits = 8 * dtype.itemsize
        value = None
        if dtype.kind != "f" and blank in cards.values:
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if bits > 8 else (0, 255)
            value = cards.integer(blank, low, high)
        factor = cards.number(scale, 1)
        if factor == 0:
            cards.where.fail(f"card {scale} is 0, which would wipe out the values; anything else is accepted")
        return cls(dtype, float(factor), float(cards.number(zero, 0)), value)

    @property
    def _flips(self) -> bool:
        bits = 8 * self.stored.itemsize
        half = -128 if bits == 8 else 2 ** (bits - 1)
        return self.stored.kind in "iu" and self.scale == 1 and self.zero == half and self.blank is None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native dtype of the physical values."""
        native = self.stored.newbyteorder("=")
        if self._flips:
            return np.dtype(f"{'i' if native.kind == 'u' else 'u'}{native.itemsize}")
        plain = native.kind == "f" or (self.scale == 1 and self.zero == 0 and self.blank is None)
        return native if plain else np.dtype("f8")

    def __call__(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Physical values of stored ones."""
        values = np.empty(np.shape(stored), self.dtype)
        self.convert(stored, values)
        return values

    def convert(self, stored: NDArray[Any], values: NDArray[Any]) -> None:
        """Fill `values` with the physical values of `stored`."""
        if self._flips:
            values.view(self.stored.newbyteorder("="))[...] = stored
            bits = values.view(f"u{values.itemsize}")
            bits ^= bits.dtype.type(1 << (8 * values.itemsize - 1))
            return
        values[...] = stored
        with np.errstate(all="ignore"):
            if self.scale != 1:
                values *= self.scale
            if self.zero != 0:
                values += self.zero
        if self.blank is not None:
            values[stored == self.blank] = np.nan


class ImageArray(BackendArray):
    """A plain image, read anew for every selection.

    Parameters
    ----------
    source : Source
    shape : tuple of int
    scaling : Scaling
    """

    def __init__(self, source: Source, shape: tuple[int, ...], scaling: Scaling) -> None:
        self.source, self.shape, self.scaling = source, shape, scaling
        self.dtype = scaling.dtype
        self.function: Elementwise | None = None

    def map(self, function: Elementwise, dtype: Any) -> Self:
        """Return the array of a function of the values, called with a piece at a time while it is in the cache.

        Parameters
        ----------
        function : callable
            Takes an array that it may change and returns one of the same shape, element by element; a function of a
            module, so that the array can be pickled.
        dtype : dtype
            Of what it returns.
        """
        array = copy(self)
        array.function, array.dtype = function, np.dtype(dtype)
        return array

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Values of any selection, in native byte order."""
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        first = _first_of_run(key, self.shape)
        if first is None:
            return self._convert(self.source.mapped().view(self.scaling.stored).reshape(self.shape)[key])
        shape = [len(range(n)[part]) for part, n in zip(key, self.shape, strict=True) if isinstance(part, slice)]
        values = np.empty(shape, self.dtype)
        flat = values.reshape(-1)
        # A thread of dask has the others beside it already.
        alone = threading.current_thread() is threading.main_thread()
        if flat.size * self.scaling.stored.itemsize <= THREADED_BYTES or not alone:
            self._fill(flat, first)
            return values
        half = flat.size // 2
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(self._fill, flat[half:], first + half)
            self._fill(flat[:half], first)
            other.result()
        return values

    def _fill(self, values: NDArray[Any], first: int) -> None:
        """Read the elements of the file from `first` on."""
        stored = np.empty(max(PIECE_BYTES // self.scaling.stored.itemsize, 1), self.scaling.stored)
        with self.source.open(self.source.data + first * stored.itemsize) as file:
            for low in range(0, values.size, stored.size):
                piece = stored[: values.size - low]
                self.source.fill(file, piece)
                if self.function is None:
                    self.scaling.convert(piece, values[low : low + piece.size])
                else:
                    values[low : low + piece.size] = self._convert(piece)

    def _convert(self, stored: NDArray[Any]) -> NDArray[Any]:
        values = self.scaling(stored)
        return values if self.function is None else np.asarray(self.function(values), self.dtype)


def _first_of_run(key: tuple[int | slice, ...], shape: tuple[int, ...]) -> int | None:
    """Find the first element of a selection that is one run of elements in C order; None if it has gaps or turns."""
    first, count = 0, 1
    for part, size in zip(key, shape, strict=True):
        picked = range(size)[part] if isinstance(part, slice) else [range(size)[part]]
        if (count > 1 and len(picked) < size) or (len(picked) > 1 and picked[1] != picked[0] + 1):
            return None
        first = first * size + (picked[0] if picked else 0)
        count *= len(picked)
    return first
