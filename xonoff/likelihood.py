"""The likelihood of sky models: WStat of one or more datasets as a function of the parameters, at the models' own cost.

W without any signal is summed over all bins once. From then on a call looks at the pixels that the models reach, where
it adds ``W(s) - W(0)``, and works out what has changed alone.
"""

from collections.abc import Iterable, Mapping
from threading import RLock
from typing import Any, TypeAlias, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.modeling import Parameter

from xonoff.errors import ModelError, SchemaError
from xonoff.irf import Method
from xonoff.models import SkyModel, model_list, models_of, to_json
from xonoff.models.free import FreeParameters, OfParameters
from xonoff.predict import Models
from xonoff.term import Term

__all__ = ["Likelihood", "Options", "dataset_list", "likelihood_of", "scale_of"]

Floats: TypeAlias = npt.NDArray[np.float64]

#: End of the name of the parameter that is a scale of alpha, after that of the dataset.
ALPHA_SCALE = ".alpha_scale"
#: Standard deviations around the mean of its prior in which such a scale is free; how far it is at least, and its ends.
WITHIN, AROUND, LOWEST, HIGHEST = 8, 1e-3, 0.1, 3.0
#: Steps of finite differences of W: along a position or a scale, and the share of a size.
ALONG, OF_SIZE = 1e-4, 0.01
SIZES = ("sigma", "r_0", "radius", "width")
#: Step of those of the flux, as a share of the parameter.
OF_FLUX = 1e-4


class Options(TypedDict, total=False):
    """Options of a likelihood."""

    tied: Mapping[str, str] | None
    priors: Mapping[str, tuple[float, float]] | None
    interpolation: Method


class Likelihood(OfParameters):
    """WStat, -2 ln L profiled over the background, of datasets and sky models.

    Parameters
    ----------
    datasets : Dataset or iterable of Dataset
        Maps, images and spectra, mixed. Of a lazy one the sum over all bins is computed, and what models reach is kept.
    models : SkyModel or iterable of SkyModel, optional
        For all datasets; by default those that each carries, models of one name being one model.
    tied : mapping of str to str, optional
        Parameters that have the value of another one, of any model: ``{"halo.alpha": "crab.alpha"}``. Relations within
        a spectrum or a shape are in astropy's own ``tied``.
    priors : mapping of str to (float, float), optional
        Means and standard deviations of what else is known of parameters: a Gaussian adds the square of the pull to
        WStat. ``{"run 1.alpha_scale": (1, 0.02)}`` is an uncertainty of 2 % of alpha in all bins of the datasets of the
        name "run 1" together; the scale then is a parameter, which takes part in a fit.
    interpolation : {"linear", "nearest"}
        As for `xonoff.predict.npred_signal`.

    Attributes
    ----------
    models : list of SkyModel
        Copies, with the values of the last call.
    bins : int
        Valid bins within the masks, of all datasets.
    priors, tied : dict
        As given.

    Notes
    -----
    Threads that share one take turns. A pickle or a copy of one is another one.

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
        tied: Mapping[str, str] | None = None,
        priors: Mapping[str, tuple[float, float]] | None = None,
        interpolation: Method = "linear",
    ) -> None:
        listed = dataset_list(datasets)
        self._lock = RLock()
        self.models = _shared(listed, models)
        self.priors = _pairs(priors)
        self._scales = _alpha_scales(listed, self.priors)
        self._free = FreeParameters(self.models, tied=tied, others=self._scales.values())
        self.tied = self._free.tied
        for name in self.priors:
            if name not in self._free.names:
                accepted = [*self._free.names, *(f"{name}{ALPHA_SCALE}" for name in _names(listed))]
                raise ModelError(f"priors: {name!r} found, {', '.join(accepted)} accepted")
        spectra = [model.spectral for model in self.models]
        self._of_flux = [self._free.is_of(number, spectra) for number in range(len(self._free.names))]
        self._terms = []
        for ds in listed:
            own = None if models is not None else {model.name for model in models_of(ds)}
            seen = [model for model in self.models if own is None or model.name in own]
            self._terms.append(Term(ds, seen, interpolation, self._scales.get(_name(ds))))
        self.bins = sum(term.bins for term in self._terms)

    @property
    def scales(self) -> dict[str, float]:
        """Scales of alpha by the names of their parameters, those of the last call."""
        return {p.name: float(p.value) for p in self._scales.values()}

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
            The sum of `xonoff.quantities.stat_sum` of the datasets, to 1e-10 of it, and that of the priors.

        Raises
        ------
        ModelError
            If there are not as many numbers as parameters, or a model cannot have such values; then the values are
            those of before.
        """
        with self._lock:
            self._follow(values)
            return float(sum(term.stat() for term in self._terms)) + sum(pull * pull for pull in self._pulls().values())

    def gradient(self, values: npt.ArrayLike | None = None, steps: Floats | None = None) -> Floats:
        r"""Derivatives of WStat by the parameters.

        That by the signal of a bin is closed, :math:`dW/ds = 2 - 2 n_\mathrm{on} / (s + \alpha \mu_\mathrm{off})`, for
        the background is at its best. It is summed with the derivatives of the fluxes by parameters of spectra, which
        are differences of fourth order. For positions and sizes W itself is differenced.

        Parameters
        ----------
        values : array_like, optional
            As for a call.
        steps : ndarray (parameter,), optional
            Of the differences of W: those of sizes should not be much below a bin of the PSF, for what is seen of a
            shape is known to 1.5e-4 of its maximum. By default 1e-4, and a hundredth of a size.

        Returns
        -------
        ndarray (parameter,)
        """
        with self._lock:
            self(values)
            here = self.values
            slopes = [term.by_flux() for term in self._terms]
            found = [
                self._along_flux(number, slopes)
                if of_flux
                else self._along(number, self._step(number) if steps is None else float(steps[number]))
                for number, of_flux in enumerate(self._of_flux)
            ]
            self._free.set(here, self._refresh)
            pulls = self._pulls()
        priors = [2 * pulls[n] / self.priors[n][1] if n in pulls else 0.0 for n in self._free.names]
        return np.add(found, priors)

    def bins_of_models(self) -> list[tuple[Floats, Floats, Floats]]:
        """Signal, off counts and alpha of the valid bins that models reach, for each dataset and energy."""
        with self._lock:
            self()
            return [bins for term in self._terms for bins in term.bins_of_models()]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle, which the lock is no part of."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state, with a lock of its own."""
        self.__dict__ |= state
        self._lock = RLock()

    def _along_flux(self, number: int, slopes: list[list[Floats]]) -> float:
        """Derivative by a parameter of a spectrum."""
        here, sums = self.values, []
        step = OF_FLUX * (abs(here[number]) or 1.0)

        def add() -> None:
            sums.append(sum(term.flux_sum(slope) for term, slope in zip(self._terms, slopes, strict=True)))

        for times in (1, -1, 2, -2):
            self._free.set(here + times * step * (np.arange(here.size) == number), add)
        self._free.set(here, lambda: None)
        return float((8 * (sums[0] - sums[1]) - (sums[2] - sums[3])) / (12 * step))

    def _step(self, number: int) -> float:
        """Step of a difference of W, where none is given."""
        last = self._free.names[number].rsplit(".", 1)[-1]
        return max(ALONG, OF_SIZE * float(self.values[number])) if last in SIZES else ALONG

    def _along(self, number: int, step: float) -> float:
        """Derivative by a position, a size or a scale."""
        here = self.values
        ends = np.clip(here[number] + np.array([step, -step]), *self._free.bounds(number))
        found = []
        for end in ends:
            self._free.set(np.where(np.arange(here.size) == number, end, here), self._refresh)
            found.append(sum(term.stat() for term in self._terms))
        self._free.set(here, lambda: None)
        return float((found[0] - found[1]) / (ends[0] - ends[1]))

    def _pulls(self) -> dict[str, float]:
        """Distances of parameters from the means of their priors, in standard deviations."""
        found = dict(zip(self._free.names, self.values, strict=True)) if self.priors else {}
        return {name: float(found[name] - mean) / sigma for name, (mean, sigma) in self.priors.items()}

    def _refresh(self) -> None:
        for term in self._terms:
            term.refresh()


def dataset_list(datasets: xr.Dataset | Iterable[xr.Dataset]) -> list[xr.Dataset]:
    """List of one or more datasets.

    Raises
    ------
    SchemaError
        If there is none, or something is no dataset.
    """
    many = isinstance(datasets, Iterable) and not isinstance(datasets, xr.Dataset | str | bytes)
    listed: list[Any] = list(datasets) if many else [datasets]
    for ds in listed:
        if not isinstance(ds, xr.Dataset):
            raise SchemaError(f"datasets: a {type(ds).__name__} found, a Dataset or a list of them accepted")
    if not listed:
        raise SchemaError("no dataset found, one or more accepted")
    return listed


def likelihood_of(
    datasets: xr.Dataset | Iterable[xr.Dataset] | Likelihood, models: Models = None, **options: Unpack[Options]
) -> Likelihood:
    """Likelihood of datasets and models, or the one that is given.

    Raises
    ------
    ModelError
        If models or options are given beside a likelihood, which has its own.
    """
    if not isinstance(datasets, Likelihood):
        return Likelihood(datasets, models, **options)
    if models is not None or options:
        given = ["models"] * (models is not None) + list(options)
        raise ModelError(f"{', '.join(given)} found beside a Likelihood, which has its own: give them to that")
    return datasets


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


def scale_of(ds: xr.Dataset, scales: Mapping[str, float]) -> float:
    """Scale of alpha of a dataset, by its name, among those of a likelihood or a result; 1 where it has none."""
    return float(scales.get(f"{_name(ds)}{ALPHA_SCALE}", 1.0))


# -- priors -----------------------------------------------------------------------------------------------------------


def _pairs(priors: Mapping[str, tuple[float, float]] | None) -> dict[str, tuple[float, float]]:
    if priors is not None and not isinstance(priors, Mapping):
        raise ModelError(f'priors: a {type(priors).__name__} found, pairs by name accepted: {{"a.alpha": (2.5, 0.1)}}')
    found = {}
    for name, pair in (priors or {}).items():
        try:
            mean, sigma = (float(number) for number in pair)
        except (TypeError, ValueError):
            mean, sigma = np.nan, np.nan
        if isinstance(pair, str) or not (np.isfinite(mean) and 0 < sigma < np.inf):
            raise ModelError(f"prior of {name}: {pair!r} found, a mean and a standard deviation above 0 accepted")
        if mean + sigma == mean or not 0 < sigma * sigma < np.inf:
            raise ModelError(
                f"prior of {name}: a standard deviation of {sigma:g} found, one that a number near {mean:g} can differ "
                "by accepted: fix the parameter"
            )
        found[str(name)] = mean, sigma
    return found


def _alpha_scales(datasets: list[xr.Dataset], priors: Mapping[str, tuple[float, float]]) -> dict[str, Parameter]:
    """Free scales of alpha, by the name of the datasets that each is of."""
    scales = {}
    for name in _names(datasets):
        if f"{name}{ALPHA_SCALE}" in priors:
            mean, sigma = priors[f"{name}{ALPHA_SCALE}"]
            if not LOWEST < mean < HIGHEST:
                raise ModelError(f"prior of {name}{ALPHA_SCALE}: mean {mean:g} found, {LOWEST} to {HIGHEST} accepted")
            reach = max(WITHIN * sigma, AROUND)
            bounds = max(mean - reach, LOWEST), min(mean + reach, HIGHEST)
            scales[name] = Parameter(name=f"{name}{ALPHA_SCALE}", default=mean, bounds=bounds)
    return scales


def _names(datasets: list[xr.Dataset]) -> list[str]:
    return list(dict.fromkeys(_name(ds) for ds in datasets))


def _name(ds: xr.Dataset) -> str:
    return str(ds.attrs.get("name", ""))
