"""Functions of arrays that are not read yet: units, masks and off counts are converted a part at a time."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from xarray.backends import BackendArray
from xarray.core import indexing

from xonoff.io.hdu import ImageArray

__all__ = ["ROUNDING", "any_fault", "drop_noise", "elementwise", "is_one", "rounded", "scaled", "whole"]

#: Off counts this close to a whole number are meant to be it: rings summed by FFT leave counts such as -5e-6.
ROUNDING = 1e-3

Array = npt.NDArray[Any]


class _Elementwise(BackendArray):
    """An array function of arrays of one shape, applied to the part that is asked for."""

    def __init__(self, function: Callable[..., Array], arrays: Sequence[ImageArray], dtype: Any) -> None:
        self.function, self.arrays = function, arrays
        self.shape, self.dtype = arrays[0].shape, np.dtype(dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._get)

    def _get(self, key: tuple[Any, ...]) -> Array:
        parts = [np.asarray(array[indexing.BasicIndexer(key)]) for array in self.arrays]
        return np.asarray(self.function(*parts), dtype=self.dtype)


def elementwise(function: Callable[..., Array], *arrays: ImageArray, dtype: Any) -> indexing.LazilyIndexedArray:
    """Lazy array of a function, which has to be one of a module so that the array can be pickled."""
    one = arrays[0].map(function, dtype) if len(arrays) == 1 else _Elementwise(function, arrays, dtype)
    return indexing.LazilyIndexedArray(one)


def scaled(array: ImageArray, factor: float) -> indexing.LazilyIndexedArray:
    """Array times a factor, in float32 if it is in float32, else in float64."""
    dtype = np.dtype(np.float32 if array.dtype == np.float32 else np.float64)
    if factor == 1 and dtype == array.dtype:
        return indexing.LazilyIndexedArray(array)
    return elementwise(partial(_scale, factor=factor, dtype=dtype), array, dtype=dtype)


def whole(array: ImageArray) -> Array:
    """Read all of an array."""
    return np.asarray(array[indexing.BasicIndexer((slice(None),) * len(array.shape))])


def is_one(mask: Array) -> Array:
    """True where a mask is 1."""
    return np.asarray(mask == 1)


def any_fault(*masks: Array) -> Array:
    """True where any mask is neither 0 nor 1."""
    faults = [mask > 1 if mask.dtype.kind == "u" else (mask != 0) & (mask != 1) for mask in masks]
    return np.asarray(np.logical_or.reduce(faults)) if len(faults) > 1 else np.asarray(faults[0])


def rounded(counts: Array) -> Array:
    """Counts, those next to a whole number set to it."""
    nearest = np.rint(counts)
    if np.array_equal(nearest, counts):  # as most files have it
        return counts
    with np.errstate(invalid="ignore"):  # inf - inf
        close = np.abs(counts - nearest) <= ROUNDING
    return np.where(close, nearest + 0.0, counts)  # + 0.0 turns -0.0 into 0.0


def drop_noise(acceptance_off: Array, counts_off: Array) -> Array:
    """Acceptance, NaN where it was computed from off counts that are next to 0 without being it."""
    noise = (np.abs(counts_off) <= ROUNDING) & (counts_off != 0)
    return np.where(noise, np.nan, acceptance_off)


def _scale(values: Array, factor: float, dtype: Any) -> Array:
    return (values.astype(np.float64) * factor).astype(dtype)
