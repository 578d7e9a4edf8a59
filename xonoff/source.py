"""One model before one dataset: the pixels that it reaches, and the counts there as its parameters change."""

from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.modeling import Model
from astropy.modeling.powerlaws import (
    BrokenPowerLaw1D,
    ExponentialCutoffPowerLaw1D,
    LogParabola1D,
    PowerLaw1D,
    SmoothlyBrokenPowerLaw1D,
)

from xonoff.axes import axis_edges
from xonoff.errors import ModelError
from xonoff.geometry import Geom, geom
from xonoff.irf import Method, Response, exposure_in, kernel_of, undispersed
from xonoff.models.integration import integral
from xonoff.models.shapes import TemplateSource, check_shape
from xonoff.models.skymodel import SkyModel
from xonoff.models.spectra import TemplateSpectrum
from xonoff.nearby import Nearby
from xonoff.psf import table_profile
from xonoff.rings import is_empty, window_around
from xonoff.skygrid import SkyGrid
from xonoff.spread import Profile, Support, spread
from xonoff.stats.threads import product
from xonoff.units import CM2, Position, lonlat_in

__all__ = ["Source", "check_model", "position_of", "reach_of", "reaches"]

Floats: TypeAlias = npt.NDArray[np.float64]

#: Parameters that are factors of their spectra.
NORMS: dict[type[Model], str] = {
    BrokenPowerLaw1D: "amplitude",
    ExponentialCutoffPowerLaw1D: "amplitude",
    LogParabola1D: "amplitude",
    PowerLaw1D: "amplitude",
    SmoothlyBrokenPowerLaw1D: "amplitude",
    TemplateSpectrum: "norm",
}
#: Factors of a norm that are kept as such: beyond it, or where it is negative, counts are worked out anew.
MODEST = 1e-100


class Source:
    """Counts of a model in the pixels that it reaches.

    Parameters
    ----------
    ds : Dataset
        A map, image or spectrum with ``exposure``.
    model : SkyModel
        Kept, not copied: changes of its parameters show after `refresh`.
    beyond : float
        Share of the events that may be left out at the far end, see `xonoff.spread.spread`.
    interpolation : {"linear", "nearest"}
        How PSF and energy dispersion are taken at the position, see `xonoff.irf.at_position`.

    Attributes
    ----------
    pixels : ndarray (pixel,) of int
        Numbers of the pixels in the raveled grid.
    counts : ndarray (pixel, energy)
        Predicted counts, but for the factor.
    factor : float
        What a change of the norm of the spectrum alone has made of them.
    shares : ndarray (pixel, energy_true), (pixel, energy) or (pixel, 1)
        Shares of its events that the pixels get.
    by_energy : bool
        Whether these are by ``energy``.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.63, 22.01))
    >>> source = Source(xonoff.tutorial.dataset(), crab, 1e-7)
    >>> source.counts.shape == (source.pixels.size, 8)
    True
    """

    def __init__(self, ds: xr.Dataset, model: SkyModel, beyond: float, interpolation: Method = "linear") -> None:
        self.model, self._ds, self._beyond, self._interpolation = model, ds, beyond, interpolation
        self._geom = geom(ds)
        self._true = axis_edges(ds, "energy_true")
        self._responses = {name: Response(ds, name, interpolation) for name in ("psf", "edisp") if name in ds}
        self._rad = axis_edges(ds, "rad") if "psf" in ds else np.zeros(0)
        self._psf_by_energy = "psf" in ds and "energy" in ds["psf"].dims
        shape = (1, 1) if self._geom.sky is None else self._geom.sky.shape
        self._exposures = Nearby(partial(_exposure, ds), shape)
        self._psf: Profile | None = None
        self._edisp: Floats | None = None
        self._read_at: tuple[float, float] | None = None
        self._known: tuple[Floats, Floats] | None = None
        self._fluxes: tuple[Floats, Floats] | None = None
        self.refresh()

    def refresh(self) -> None:
        """Predict anew what follows from the parameters of the model that have changed."""
        spectral, spatial = self._parameters()
        known, self._known = self._known, None  # until all is worked out, for it may fail
        if known is None or not np.array_equal(spatial, known[1]):
            self._place()
            self._weigh()
        else:
            changed = np.flatnonzero(spectral != known[0])
            norm = changed.tolist() == [self._norm] and known[0][changed[0]] != 0
            ratio = spectral[changed[0]] / known[0][changed[0]] if norm else np.nan
            if MODEST < ratio < 1 / MODEST and MODEST < ratio * self.factor < 1 / MODEST:
                self.factor *= ratio
            elif changed.size:
                self._weigh()
        self._known = spectral, spatial

    def by_flux(self, slope: Floats) -> Floats:
        """Derivative of a sum over bins by the flux that is `seen`: (energy_true, energy).

        Parameters
        ----------
        slope : ndarray (pixel, energy)
            Derivative of the sum by the counts.
        """
        weight = slope * self.shares if self.by_energy else slope
        return product(np.ascontiguousarray(self._exposure.T), weight)

    def _parameters(self) -> tuple[Floats, Floats]:
        shape = self.model.spatial
        return np.array(self.model.spectral.parameters), np.array([] if shape is None else shape.parameters)

    @property
    def _norm(self) -> int | None:
        """Number of the parameter of the spectrum that is a factor of it, None if that is not known."""
        name = NORMS.get(type(self.model.spectral))
        return None if name is None else self.model.spectral.param_names.index(name)

    def _place(self) -> None:
        """Find the pixels that the shape reaches, and the response there."""
        sky, shape = self._geom.sky, self.model.spatial
        check_model(self.model, self._geom)
        if sky is None or shape is None:  # a spectrum of a region, which takes all events
            self._respond()
            support = Support(np.zeros(1, dtype=np.intp), np.ones((1, 1)))
        else:
            position = self._position(sky.frame)
            if reaches(position, _reach(self.model, self._rad), sky):
                self._respond()
                support = spread(shape, position, sky, self._psf, self._beyond)
            else:
                support = Support(np.zeros(0, dtype=np.intp), np.zeros((0, 1)))
        self.pixels, self.shares = support.pixels, support.shares
        self.by_energy = self.shares.shape[1] > 1 and self._psf_by_energy
        self._exposure = self._exposures.take(self.pixels) if self.pixels.size else np.zeros((0, self._true.size - 1))
        if not self.by_energy:
            self._exposure *= self.shares

    def _position(self, frame: str) -> tuple[float, float]:
        shape = self.model.spatial
        if shape is not None and shape.frame == frame and "lon_0" in shape.param_names:
            return float(shape.lon_0.value), float(shape.lat_0.value)
        lon, lat = lonlat_in(position_of(self.model, self._geom), frame)
        return float(lon), float(lat)

    def _respond(self) -> None:
        """Take PSF and energy dispersion at the position of the model, unless that is where they are from."""
        at = self._position("icrs" if self._geom.sky is None else self._geom.sky.frame)
        if self._read_at == at:
            return
        self._psf, self._edisp, self._read_at = None, None, None
        psf, edisp = (self._responses.get(name) for name in ("psf", "edisp"))
        if self.model.psf and psf is not None and self._geom.sky is not None:
            values, radii = table_profile(psf(self._position(psf.frame)), self._rad)
            self._psf = values.values, radii
        if self.model.edisp and edisp is not None:
            matrix = kernel_of(edisp(self._position(edisp.frame)), self._ds)
            self._edisp = np.nan_to_num(np.asarray(matrix.values, dtype=np.float64))
        self._read_at = at

    def _weigh(self) -> None:
        """Weigh the response with the spectrum."""
        counts = product(self._exposure, self.seen())
        if self.by_energy:
            counts *= self.shares
        self.counts, self.factor = counts, 1.0

    def seen(self) -> Floats:
        """Flux of each true energy that is seen at each energy, cm-2 s-1: (energy_true, energy)."""
        if self._edisp is not None:
            return self._flux()[:, None] * self._edisp
        return undispersed(partial(integral, self.model.spectral), self._true, np.array(self._geom.energy))

    def _flux(self) -> Floats:
        """Flux in each true energy, worked out anew if the spectrum has changed."""
        spectral = self._parameters()[0]
        if self._fluxes is None or not np.array_equal(spectral, self._fluxes[0]):
            self._fluxes = spectral, integral(self.model.spectral, self._true)
        return self._fluxes[1]


def _exposure(ds: xr.Dataset, rows: slice, columns: slice) -> Floats:
    """Exposure in the units of fluxes, cm2 s."""
    return exposure_in(ds, rows, columns) * CM2


def reach_of(model: SkyModel, ds: xr.Dataset) -> float:
    """Distance from its position up to which a model gives events: the extent of its shape and of the PSF, deg."""
    return _reach(model, axis_edges(ds, "rad") if "psf" in ds else np.zeros(0))


def _reach(model: SkyModel, rad: Floats) -> float:
    psf = float(rad[-1]) if model.psf and rad.size else 0.0
    return 180.0 if model.spatial is None else min(model.spatial.extent + psf, 180.0)


def reaches(position: Position, reach: float, sky: SkyGrid) -> bool:
    """Tell whether a part of a map may lie within a distance of a position."""
    return reach >= 180 or bool(sky.contains(position)) or not is_empty(window_around(sky, position, reach))


def check_model(model: SkyModel, where: Geom) -> None:
    """Refuse a model that has no shape before a map, or one whose parameters have been set to what is no shape."""
    if where.sky is not None and model.spatial is None:
        raise ModelError(
            f"{model.name}: a model without shape before a map found: give it one, such as "
            "spatial=PointSource(83.63, 22.01), or take ds.onoff.to_spectrum"
        )
    if model.spatial is not None:
        check_shape(model.spatial)


def position_of(model: SkyModel, where: Geom) -> SkyCoord:
    """Position whose PSF and energy dispersion a model takes: its own, else the middle of its map, or of the counts."""
    shape = model.spatial
    if isinstance(shape, TemplateSource):
        lon, lat = shape.sky.center
        return SkyCoord(lon, lat, unit="deg", frame=shape.sky.frame)
    if shape is not None and shape.position is not None:
        return shape.position
    lon, lat = (0.0, 0.0) if where.sky is None else where.sky.center
    return SkyCoord(lon, lat, unit="deg", frame="icrs" if where.sky is None else where.sky.frame)
