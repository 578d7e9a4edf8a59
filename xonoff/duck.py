"""What the rest need to know of array types: the one place that does."""

from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

__all__ = ["chunk_slices", "chunked_like", "small_values"]


def small_values(array: xr.DataArray | xr.Variable) -> npt.NDArray[Any]:
    """Values of a small coordinate, also of a dataset whose coordinates were chunked along with its data.

    Edges and pixel labels say what a dataset is; they are read at once, on this thread, whatever scheduler is set.
    """
    data = array.variable.data if isinstance(array, xr.DataArray) else array.data
    if not hasattr(data, "dask"):
        return np.asarray(data)
    try:
        return np.asarray(data.compute(scheduler="synchronous"))
    except ValueError:  # persisted on a cluster, which alone has them
        return np.asarray(data.compute())


def chunked_like(coords: Mapping[str, xr.Variable], variables: Iterable[xr.Variable]) -> dict[str, xr.Variable]:
    """Coordinates of which the 2-D ones are dask arrays where the variables are, in the same chunks."""
    chunks = {dim: sizes for v in variables for dim, sizes in v.chunksizes.items()}
    return {
        name: v.chunk({dim: chunks[dim] for dim in v.dims}) if v.ndim == 2 and set(v.dims) <= set(chunks) else v
        for name, v in coords.items()
    }


def chunk_slices(sizes: Iterable[int]) -> list[slice]:
    """Where the chunks along a dimension are.

    Examples
    --------
    >>> chunk_slices((3, 2))
    [slice(0, 3, None), slice(3, 5, None)]
    """
    ends = list(accumulate(sizes, initial=0))
    return [slice(start, stop) for start, stop in pairwise(ends)]
