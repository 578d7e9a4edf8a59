"""The likelihood of sky models: WStat of one or more datasets as a function of the parameters, at the models' own cost.

W without any signal is summed over all bins once. From then on a call looks at the pixels that the models reach, where
it adds ``W(s) - W(0)``, and works out what has changed alone.
"""

from collections.abc import Iterable
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff import quantities
from xonoff.errors import ModelError, SchemaError
from xonoff.geometry import sky_dims
from xonoff.irf import Method
from xonoff.models import SkyModel, model_list, models_of, to_json
from xonoff.models.free import FreeParameters, OfParameters
from xonoff.nearby import Nearby
from xonoff.predict import BEYOND, Models, bins_of
from xonoff.schema import MASKS
from xonoff.source import Source

__all__ = ["Likelihood"]

Floats: TypeAlias = npt.NDArray[np.float64]

#: Steps of finite differences: of an angle, deg, and of any other parameter as a share of its size.
ANGLE, SHARE = 1e-4, 1e-4


class Likelihood(OfParameters):
    """WStat, -2 ln L profiled over the background, of datasets and sky models.

    Parameters
    ----------
    datasets : Dataset or iterable of Dataset
        Maps, images and spectra, mixed. Of a lazy one the sum over all bins is computed, and what models reach is kept.
    models : SkyModel or iterable of SkyModel, optional
        For all datasets; by default those that each carries, models of one name being one model.
    interpolation : {"linear", "nearest"}
        As for `xonoff.predict.npred_signal`.

    Attributes
    ----------
    models : list of SkyModel
        Copies, with the values of the last call.
    bins : int
        Valid bins within the masks, of all datasets.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6, fixed={"x_0": True}), PointSource(83.633, 22.014))
    >>> ds = xonoff.tutorial.dataset()
    >>> likelihood = Likelihood(ds, crab)
    >>> bool(np.isclose(likelihood(likelihood.values), ds.onoff.stat_sum(crab)))
    True
    """

    def __init__(
        self,
        datasets: xr.Dataset | Iterable[xr.Dataset],
        models: Models = None,
        *,
        interpolation: Method = "linear",
    ) -> None:
        listed = [datasets] if isinstance(datasets, xr.Dataset) else list(datasets)
        if not listed:
            raise SchemaError("no dataset found, one or more accepted")
        self.models = _shared(listed, models)
        self._free = FreeParameters(self.models)
        spectra = [model.spectral for model in self.models]
        self._of_flux = [any(self._free.is_of(i, part) for part in spectra) for i in range(len(self._free.names))]
        self._terms = []
        for ds in listed:
            own = None if models is not None else {model.name for model in models_of(ds)}
            seen = [model for model in self.models if own is None or model.name in own]
            self._terms.append(_Term(ds, seen, interpolation))
        self.bins = sum(_count(ds) for ds in listed)

    def bounds(self, name: str) -> tuple[float, float]:
        """Bounds of a parameter, infinite where it has none."""
        return self._free.bounds(self._free.names.index(name))

    def __call__(self, values: npt.ArrayLike | None = None) -> float:
        """WStat of all datasets, -2 ln L.

        Parameters
        ----------
        values : array_like, optional
            In the order of ``parameters``; those of the last call by default.

        Returns
        -------
        float
            The sum of `xonoff.quantities.stat_sum` of the datasets, to 1e-10 of it.

        Raises
        ------
        ModelError
            If there are not as many numbers as parameters, or a model cannot have such values; then the values are
            those of before.
        """
        self._follow(values)
        return float(sum(term.stat() for term in self._terms))

    def gradient(self, values: npt.ArrayLike | None = None) -> Floats:
        r"""Derivatives of WStat by the parameters.

        That by the signal of a bin is closed, :math:`dW/ds = 2 - 2 n_\mathrm{on} / (s + \alpha \mu_\mathrm{off})`, for
        the background is at its best. It is summed with the derivatives of the fluxes by parameters of spectra, which
        are differences of fourth order. For positions and sizes W itself is differenced.

        Parameters
        ----------
        values : array_like, optional
            As for a call.

        Returns
        -------
        ndarray (parameter,)
        """
        self(values)
        here = self.values
        slopes = [term.by_flux() for term in self._terms]
        found = [
            self._along_flux(number, slopes) if of_flux else self._along(number)
            for number, of_flux in enumerate(self._of_flux)
        ]
        self._free.set(here, self._refresh)
        return np.array(found)

    def _along_flux(self, number: int, slopes: list[list[Floats]]) -> float:
        """Derivative by a parameter of a spectrum."""
        here, sums = self.values, []
        step = SHARE * (abs(here[number]) or 1.0)

        def add() -> None:
            sums.append(sum(term.flux_sum(slope) for term, slope in zip(self._terms, slopes, strict=True)))

        for times in (1, -1, 2, -2):
            self._free.set(here + times * step * (np.arange(here.size) == number), add)
        self._free.set(here, lambda: None)
        return float((8 * (sums[0] - sums[1]) - (sums[2] - sums[3])) / (12 * step))

    def _along(self, number: int) -> float:
        """Derivative by a position or a size."""
        here = self.values
        ends = np.clip(here[number] + np.array([ANGLE, -ANGLE]), *self._free.bounds(number))
        found = [self(np.where(np.arange(here.size) == number, end, here)) for end in ends]
        self._free.set(here, lambda: None)
        return float((found[0] - found[1]) / (ends[0] - ends[1]))

    def _refresh(self) -> None:
        for term in self._terms:
            term.refresh()


class _Term:
    """WStat of one dataset."""

    def __init__(self, ds: xr.Dataset, models: list[SkyModel], interpolation: Method) -> None:
        where = bins_of(ds, "local", interpolation)
        self.models = models
        self._sources = [Source(ds, model, BEYOND["local"], interpolation) for model in models]
        self._null, self._impossible = _null_sum(ds)
        self._bins = Nearby(partial(_bins, ds), (1, 1) if where.sky is None else where.sky.shape)
        self._energies = where.shape[0]
        self._pixels = np.zeros(0, dtype=np.intp)
        self._slope = np.zeros((0, self._energies))

    def refresh(self) -> None:
        for source in self._sources:
            source.refresh()

    def stat(self) -> float:
        """W of all bins: that without a signal, and what the signal changes."""
        from xonoff.stats import kernels

        self._pixels = _union([source.pixels for source in self._sources])
        if not self._pixels.size:
            self._slope = np.zeros((0, self._energies))
            return np.inf if self._impossible else self._null
        signal = np.zeros((self._pixels.size, self._energies))
        for source in self._sources:
            kernels.add_rows(signal, np.searchsorted(self._pixels, source.pixels), source.counts, source.factor)
        self._slope = np.empty(signal.shape)
        bins, rows = self._bins.rows(self._pixels)
        if self._impossible > np.count_nonzero(np.isinf(bins[rows, 3 * self._energies :])):
            return np.inf
        return self._null + float(kernels.wstat_change(bins, rows, signal, self._slope, 1.0))

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


def _shared(datasets: list[xr.Dataset], models: Models) -> list[SkyModel]:
    """Copies of the models of all datasets, each name once."""
    if models is not None:
        return [model.copy() for model in model_list(models)]
    found: dict[str, SkyModel] = {}
    for ds in datasets:
        for model in models_of(ds):
            if to_json([found.setdefault(model.name, model)]) != to_json([model]):
                raise ModelError(
                    f"{model.name}: two datasets carry different models of this name: give models=, or rename one with "
                    "model.copy(name)"
                )
    return list(found.values())


def _union(pixels: list[npt.NDArray[np.intp]]) -> npt.NDArray[np.intp]:
    """Every pixel once, in order."""
    if len(pixels) == 1:
        return pixels[0]
    return np.unique(np.concatenate(pixels)) if pixels else np.zeros(0, dtype=np.intp)


def _null_sum(ds: xr.Dataset) -> tuple[float, int]:
    """Sum of W without a signal, but for bins that are impossible then; and their number."""
    total = float(quantities.stat_sum(ds))
    if np.isfinite(total):
        return total, 0
    null = quantities.wstat(ds).where(quantities.mask(ds))
    return float(null.where(np.isfinite(null)).sum()), int(np.isinf(null).sum())


def _count(ds: xr.Dataset) -> int:
    return int((np.isfinite(quantities.excess(ds)) & quantities.mask(ds)).sum())


def _bins(ds: xr.Dataset, rows: slice, columns: slice) -> Floats:
    """What `xonoff.stats.kernels.wstat_change` takes of a window of pixels: (y, x, 4 energies)."""
    sky = sky_dims(ds)
    part = ds[[*quantities.ON_OFF, *(name for name in MASKS if name in ds)]]
    part = part.isel(dict(zip(sky, (rows, columns), strict=False)))
    alpha, null, inside = quantities.alpha(part), quantities.wstat(part), quantities.mask(part)
    arrays = [part["counts"], part["counts_off"], alpha, null.where(inside)]
    wide = [array.variable.transpose(..., *sky, "energy").values for array in arrays]
    values = np.concatenate([np.broadcast_to(array, wide[0].shape) for array in wide], axis=-1, dtype=np.float64)
    return values.reshape(*(1,) * (3 - values.ndim), *values.shape)
