"""The pixels that a source reaches, and their shares of its events: its shape, spread by the PSF."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xonoff import plane, radial, wide
from xonoff.models.shapes import ConstantSource, DiskSource, GaussianSource, PointSource, Shape
from xonoff.rings import is_empty, profile_integrals, window_around
from xonoff.skygrid import SkyGrid
from xonoff.units import Position

__all__ = ["Profile", "Support", "spread"]

Floats = npt.NDArray[np.float64]
#: Values (energy, radius), deg-2, and radii, deg; see `xonoff.psf.psf_profile`.
Profile = tuple[Floats, Floats]
ELONGATED = (GaussianSource, DiskSource)


@dataclass(frozen=True)
class Support:
    """Pixels that a source reaches.

    Attributes
    ----------
    pixels : ndarray (pixel,) of int
        Numbers in the raveled grid.
    shares : ndarray (pixel, energy)
        Share of the events that each gets, by energy; one column where there is no PSF.
    """

    pixels: npt.NDArray[np.intp]
    shares: Floats


def spread(shape: Shape, position: Position, sky: SkyGrid, psf: Profile | None, beyond: float = 0.0) -> Support:
    """Pixels that a source reaches, and their shares of its events.

    Parameters
    ----------
    shape : Shape
    position : SkyCoord or (lon, lat)
        Of the shape, in any frame or in that of the grid; of a template the middle of its map.
    sky : SkyGrid
        Of the counts.
    psf : (values, radii), optional
        Profile of the PSF at the source, see `xonoff.psf.psf_profile`; without it events stay where they come from.
    beyond : float
        Share of the events that may be left out at the far end, to spare pixels; the rest still is 1.

    Examples
    --------
    >>> from xonoff.models import GaussianSource
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(60, 60), pixel_size=0.05)
    >>> reached = spread(GaussianSource(83.6, 22.0, 0.1), (83.6, 22.0), sky, None)
    >>> reached.pixels.size < sky.shape[0] * sky.shape[1], reached.shares.sum().round(6)
    (True, np.float64(1.0))
    """
    if isinstance(shape, ConstantSource):
        shares = np.nan_to_num(sky.solid_angle()).ravel() * shape(0.0, 0.0)
        return Support(np.arange(shares.size), shares[:, None])
    if isinstance(shape, PointSource) and psf is None:
        return _one_pixel(position, sky)
    if not shape.radial and _tiny(shape, sky, psf):
        shape = _rounded(shape)
    if not shape.radial:
        return Support(*plane.shares(shape, position, sky, psf, beyond))
    if psf is not None and wide.is_wide(shape, psf):
        return Support(*wide.shares(shape, position, sky, psf, beyond))
    values, radii = radial.profile_of(shape) if psf is None else radial.broadened(*psf, shape)
    values = np.atleast_2d(values)
    if beyond > 0:
        values, radii = radial.cut(values, radii, beyond)
    rows, columns = window_around(sky, position, float(radii[-1]))
    if is_empty((rows, columns)):
        return Support(np.zeros(0, dtype=np.intp), np.zeros((0, len(values))))
    reached, shares = profile_integrals(sky.slice(rows, columns), position, radii, values)
    row, column = np.divmod(reached, columns.stop - columns.start)
    return Support((row + rows.start) * sky.shape[1] + column + columns.start, shares)


def _tiny(shape: Shape, sky: SkyGrid, psf: Profile | None) -> bool:
    """Tell whether a shape is so small that its elongation does not show."""
    resolved = min(sky.pixel_scales) if psf is None else float(np.diff(psf[1]).max())
    return isinstance(shape, ELONGATED) and shape.extent < resolved / 2


def _rounded(shape: Shape) -> Shape:
    """Round shape of the same mean variance."""
    lon, lat, size, e, _ = (float(value) for value in shape.parameters)
    return type(shape)(lon, lat, size * np.sqrt(1 - e**2 / 2), frame=shape.frame)


def _one_pixel(position: Position, sky: SkyGrid) -> Support:
    x, y = (float(p) for p in sky.sky_to_pixel(position))
    inside = bool(sky.contains(position))
    number = round(y) * sky.shape[1] + round(x) if inside else 0
    return Support(np.array([number][:inside], dtype=np.intp), np.ones((int(inside), 1)))
