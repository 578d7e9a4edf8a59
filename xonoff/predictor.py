"""Predicted counts as a function of the parameters of models: bound once, called many times."""

import weakref
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import SchemaError
from xonoff.irf import Method
from xonoff.models.free import FreeParameters, OfParameters
from xonoff.predict import BEYOND, Mode, Models, add_counts, bins_of, copies_of, labelled
from xonoff.source import Source

__all__ = ["Predictor"]

Floats: TypeAlias = npt.NDArray[np.float64]


class Predictor(OfParameters):
    """Counts predicted by models, as a function of their parameters.

    It holds copies of the models; what does not change from one call to the next is not worked out again.

    Parameters
    ----------
    ds, models, evaluation_mode, interpolation
        As for `xonoff.predict.npred_signal`. Of a lazy dataset the response is read where models need it.

    Notes
    -----
    One predictor serves one thread at a time; give each thread its own.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6, fixed={"x_0": True}), PointSource(83.63, 22.01))
    >>> predictor = Predictor(xonoff.tutorial.dataset(), crab)
    >>> predictor.parameters
    ['crab.amplitude', 'crab.alpha', 'crab.lon_0', 'crab.lat_0']
    >>> once, twice = predictor(), predictor([7e-11, 2.6, 83.63, 22.01])
    >>> bool(np.allclose(twice, 2 * once))
    True
    """

    def __init__(
        self,
        ds: xr.Dataset,
        models: Models = None,
        *,
        evaluation_mode: Mode = "local",
        interpolation: Method = "linear",
    ) -> None:
        where = bins_of(ds, evaluation_mode, interpolation)
        copies = copies_of(ds, models)
        self._free = FreeParameters(copies)
        self._sources = [Source(ds, model, BEYOND[evaluation_mode], interpolation) for model in copies]
        self._result = labelled(ds, where)
        self._last: tuple[weakref.ref[Any], list[npt.NDArray[np.intp]]] | None = None

    def __call__(self, values: npt.ArrayLike | None = None, *, out: xr.DataArray | None = None) -> xr.DataArray:
        """Predict with other values of the parameters.

        Parameters
        ----------
        values : array_like, optional
            In the order of ``parameters``; those of the last call by default.
        out : DataArray, optional
            What the last call has returned, unchanged: the result takes its memory.

        Returns
        -------
        DataArray (energy, sky)

        Raises
        ------
        ModelError
            If there are not as many numbers as parameters, or a model cannot have such values; then the values are
            those of before.
        """
        self._follow(values)
        array = self._zeros(out)
        for source in self._sources:
            add_counts(array, source)
        self._last = weakref.ref(array), [source.pixels for source in self._sources]
        return self._result.copy(deep=False, data=array)

    def _refresh(self) -> None:
        for source in self._sources:
            source.refresh()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle, which the last result is no part of."""
        return {**self.__dict__, "_last": None}

    def _zeros(self, out: xr.DataArray | None) -> Floats:
        """Zeros in new memory, or in that of an earlier result; the energies of a pixel are next to each other."""
        if out is None:
            energies, *sky = self._result.shape
            return np.moveaxis(np.zeros((*sky, energies)), -1, 0)
        if not isinstance(out, xr.DataArray) or self._last is None or self._last[0]() is not out.data:
            raise SchemaError("out: something else than the last result of this predictor found: give that, or none")
        array: Floats = out.values
        for pixels in self._last[1]:
            array.reshape(len(array), -1).T[pixels] = 0
        return array
