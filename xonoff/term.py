"""WStat of one dataset as its models change: what no signal gives, known from the start, and what a signal changes."""

from collections.abc import Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.modeling import Parameter
from dask.base import compute
from numpy.polynomial.chebyshev import Chebyshev, chebpts1

from xonoff import quantities
from xonoff.geometry import sky_dims
from xonoff.irf import Method
from xonoff.models import SkyModel
from xonoff.nearby import Nearby
from xonoff.predict import BEYOND, bins_of
from xonoff.schema import MASKS
from xonoff.source import Source

__all__ = ["Term"]

Floats: TypeAlias = npt.NDArray[np.float64]
Pixels: TypeAlias = npt.NDArray[np.intp]

#: Scales of alpha at which W without a signal is summed: with so many it is known to 1e-12 over a factor of 30.
SCALES = 20


class Term:
    """WStat of one dataset.

    A lazy dataset is read once, to sum W without a signal; the pixels around the models stay in memory.

    Parameters
    ----------
    ds : Dataset
    models : list of SkyModel
        Kept, not copied; those that the dataset sees.
    interpolation : {"linear", "nearest"}
    scale : Parameter, optional
        Kept: alpha is taken times its value, which lies within its bounds.

    Attributes
    ----------
    bins : int
        Valid bins within the masks.
    """

    def __init__(
        self, ds: xr.Dataset, models: list[SkyModel], interpolation: Method, scale: Parameter | None = None
    ) -> None:
        where = bins_of(ds, "local", interpolation)
        self.models, self._scale = models, scale
        self._sources = [Source(ds, model, BEYOND["local"], interpolation) for model in models]
        self._energies = where.shape[0]
        self._near = Nearby(partial(_near, ds), (1, 1) if where.sky is None else where.sky.shape)
        scales = np.ones(1) if scale is None else _nodes(*scale.bounds)
        # In one go, so that a lazy dataset is read once.
        pixels = _union([source.pixels for source in self._sources])
        window = self._near.window(pixels) if pixels.size else (slice(0, 0),) * 2
        parts = [quantities.stat_sum(_scaled(ds, s)) for s in scales], _count(ds), _wide(ds, window[0], window[1])
        sums, bins, arrays = compute(*parts)
        self.bins, self._impossible = int(bins), 0
        if not np.isfinite(sums).all():
            self._impossible = int(np.isinf(_null(ds)).sum())
            sums = [_null(_scaled(ds, s)).where(np.isfinite).sum() for s in scales]
        self._null = _curve(scales, np.array([float(found) for found in sums]))
        if pixels.size:
            self._near.hold(window[0], window[1], _stacked(arrays))
        self._pixels: Pixels = np.zeros(0, dtype=np.intp)
        self._slope = np.zeros((0, self._energies))

    def refresh(self) -> None:
        """Predict anew what has changed."""
        for source in self._sources:
            source.refresh()

    def stat(self) -> float:
        """W of all bins: that without a signal, and what the signal changes."""
        from xonoff.stats import changes

        scale = 1.0 if self._scale is None else float(self._scale.value)
        null = self._null if isinstance(self._null, float) else float(self._null(np.log(scale)))
        self._pixels = _union([source.pixels for source in self._sources])
        if not self._pixels.size:
            self._slope = np.zeros((0, self._energies))
            return np.inf if self._impossible else null
        signal = self._signal()
        self._slope = np.empty(signal.shape)
        bins, rows = self._near.rows(self._pixels)
        if self._impossible and self._impossible > np.count_nonzero(np.isinf(bins[rows, 3 * self._energies :])):
            return np.inf
        return null + float(changes.wstat_change(bins, rows, signal, self._slope, scale))

    def _signal(self) -> Floats:
        """Counts of all models in the pixels that they reach."""
        from xonoff.stats import kernels

        signal = np.zeros((self._pixels.size, self._energies))
        for source in self._sources:
            kernels.add_rows(signal, np.searchsorted(self._pixels, source.pixels), source.counts, source.factor)
        return signal

    def bins_of_models(self) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Signal, off counts and alpha of the valid bins that models reach, energy by energy, as of the last W."""
        if not self._pixels.size:
            return
        values, rows = self._near.rows(self._pixels)
        bins, signal, n = values[rows], self._signal(), self._energies
        scale = 1.0 if self._scale is None else float(self._scale.value)
        for e in range(n):
            valid = np.isfinite(bins[:, 3 * n + e]) & (bins[:, 2 * n + e] > 0)
            yield signal[valid, e], bins[valid, n + e], scale * bins[valid, 2 * n + e]

    def by_flux(self) -> list[Floats]:
        """Derivatives of the last W by the flux that is seen of each model."""
        found = []
        for source in self._sources:
            rows = np.searchsorted(self._pixels, source.pixels)
            found.append(source.by_flux(self._slope[rows]))
        return found

    def flux_sum(self, slopes: list[Floats]) -> float:
        """Sum of the fluxes of all models as they are now, each times a slope."""
        return float(sum(np.vdot(slope, source.seen()) for slope, source in zip(slopes, self._sources, strict=True)))


def _union(pixels: list[Pixels]) -> Pixels:
    """Every pixel once, in order."""
    if len(pixels) == 1:
        return pixels[0]
    return np.unique(np.concatenate(pixels)) if pixels else np.zeros(0, dtype=np.intp)


# -- W without a signal -----------------------------------------------------------------------------------------------


def _nodes(low: float, high: float) -> Floats:
    """Scales of alpha between two, at the best nodes for a polynomial in their logarithm."""
    middle, half = np.log(low * high) / 2, np.log(high / low) / 2
    return np.asarray(np.exp(middle + half * chebpts1(SCALES)))


def _curve(scales: Floats, sums: Floats) -> float | Chebyshev:
    """Sum of W at any logarithm of a scale of alpha, by what it is at some; a number where there is one scale only."""
    if scales.size == 1:
        return float(sums[0])
    # The logarithm of a scale and that of 1 + alpha times it are smooth functions of the former.
    return Chebyshev.fit(np.log(scales), sums, scales.size - 1)


def _scaled(ds: xr.Dataset, scale: float) -> xr.Dataset:
    return ds if scale == 1 else ds.assign(acceptance=ds["acceptance"].astype(np.float64) * scale)


def _null(ds: xr.Dataset) -> xr.DataArray:
    """W of each bin without a signal, NaN where it does not count."""
    return xr.DataArray(quantities.wstat(ds).where(quantities.mask(ds)).compute())


def _count(ds: xr.Dataset) -> xr.DataArray:
    """Number of valid bins within the masks; in memory energy by energy, so that no cube is made."""
    lazy = any(ds[name].chunks is not None for name in quantities.ON_OFF)
    parts = [ds] if lazy else [ds.isel(energy=slice(e, e + 1)) for e in range(ds.sizes["energy"])]
    return xr.DataArray(sum((np.isfinite(quantities.excess(p)) & quantities.mask(p)).sum() for p in parts))


# -- bins around the sources ------------------------------------------------------------------------------------------


def _near(ds: xr.Dataset, rows: slice, columns: slice) -> Floats:
    """What `xonoff.stats.changes.wstat_change` takes of a window of pixels: (y, x, 4 energies)."""
    return _stacked(compute(*_wide(ds, rows, columns)))


def _wide(ds: xr.Dataset, rows: slice, columns: slice) -> list[Any]:
    """On counts, off counts, alpha and W without a signal of a window of pixels, each (y, x, energy)."""
    sky = sky_dims(ds)
    part = ds[[*quantities.ON_OFF, *(name for name in MASKS if name in ds)]]
    part = part.isel(dict(zip(sky, (rows, columns), strict=False)))
    alpha, null, inside = quantities.alpha(part), quantities.wstat(part), quantities.mask(part)
    arrays = [part["counts"], part["counts_off"], alpha, null.where(inside)]
    return [array.variable.transpose(..., *sky, "energy").data for array in arrays]


def _stacked(arrays: list[Any] | tuple[Any, ...]) -> Floats:
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    values = np.concatenate([np.broadcast_to(a, shape) for a in arrays], axis=-1, dtype=np.float64)
    return values.reshape(*(1,) * (3 - values.ndim), *values.shape)
