r"""Shapes of sources on the sphere: point, Gaussian, disk, shell, template map, isotropic.

Each is an astropy model of two inputs, longitude and latitude in degrees in its `frame`, that gives the surface
brightness in sr-1. Its integral over the sphere is 1; distances are great-circle distances, so poles and the seam of
the longitude are places like others. Elongated shapes have the axis ``sigma`` or ``r_0`` at the position angle ``phi``
(from north over east), and the axis ``sqrt(1 - e**2)`` times that across.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord, angular_separation, position_angle
from astropy.modeling import Fittable2DModel, Parameter

from xonoff.errors import ModelError
from xonoff.geometry import sky_grid
from xonoff.skygrid import SkyGrid
from xonoff.units import value_in

__all__ = [
    "ConstantSource",
    "DiskSource",
    "GaussianSource",
    "PointSource",
    "Shape",
    "ShellSource",
    "TemplateSource",
]

Floats = npt.NDArray[np.float64]

#: Parameters that are no angles.
PLAIN = ("e", "norm", "value")
#: Directions around a source over which an elongated shape is normalised; such sums converge exponentially.
DIRECTIONS = 720


class Shape(Fittable2DModel):  # type: ignore[misc]  # astropy is untyped
    """What all shapes share.

    Parameters
    ----------
    *parameters : float
        As the shape names them; angles in deg.
    frame : str
        Celestial frame of positions and position angles, "icrs" or "galactic" for example.
    """

    n_outputs: ClassVar[int] = 1

    def __init__(self, *parameters: float, frame: str = "icrs", **kwargs: Any) -> None:
        try:
            if not isinstance(frame, str):
                raise TypeError("text wanted")
            SkyCoord(0, 0, unit="deg", frame=frame).transform_to("icrs")
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"{type(self).__name__}: frame {str(frame)[:80]!r} found, one such as 'icrs' accepted"
            ) from error
        self.frame = frame
        given = dict(zip(self.param_names, parameters, strict=False))
        given |= {name: kwargs.pop(name) for name in self.param_names if name in kwargs}
        plain = {name: value_in(v, "" if name in PLAIN else "deg") for name, v in given.items()}
        super().__init__(**plain, **kwargs)
        _check(self)

    @property
    def position(self) -> SkyCoord | None:
        """Position of the source; None for a shape that has none."""
        if "lon_0" not in self.param_names:
            return None
        return SkyCoord(self.lon_0.value, self.lat_0.value, unit="deg", frame=self.frame)


class PointSource(Shape):
    """A point; it has no surface brightness, predictions integrate the PSF.

    Examples
    --------
    >>> PointSource(83.63, 22.01).position.to_string()
    '83.63 22.01'
    """

    lon_0 = Parameter(default=0.0, description="longitude, deg")
    lat_0 = Parameter(default=0.0, bounds=(-90, 90), description="latitude, deg")

    def evaluate(self, lon, lat, lon_0, lat_0):  # type: ignore[no-untyped-def]  # astropy takes annotations for units
        """Refused: infinite at one position."""
        raise ModelError("PointSource: a point has no surface brightness: predict counts, or take a narrow Gaussian")


class GaussianSource(Shape):
    r"""Gaussian on the sphere, ``exp(-(1 - cos d) / (2 (1 - cos sigma)))`` at a distance d (Fisher's distribution).

    For a small sigma it is the Gaussian of the plane, where 39 % lie within sigma.

    Examples
    --------
    >>> source = GaussianSource(83.63, 22.01, 0.1)
    >>> bool(np.isclose(source(83.63, 22.01), 1 / (2 * np.pi * np.radians(0.1) ** 2)))
    True
    """

    lon_0 = Parameter(default=0.0, description="longitude, deg")
    lat_0 = Parameter(default=0.0, bounds=(-90, 90), description="latitude, deg")
    sigma = Parameter(default=0.1, bounds=(0, 180), description="length of the major axis, deg")
    e = Parameter(default=0.0, bounds=(0, 1), fixed=True, description="eccentricity")
    phi = Parameter(default=0.0, fixed=True, description="position angle of the major axis, deg")

    def evaluate(self, lon, lat, lon_0, lat_0, sigma, e, phi):  # type: ignore[no-untyped-def]
        """Surface brightness, sr-1."""
        distance, angle = _polar(lon, lat, lon_0, lat_0)
        scale = _versine(_axis(sigma, e, angle - np.radians(phi)))
        return np.exp(-_versine(distance) / (2 * scale)) / _around(
            lambda to: 2 * (s := _versine(_axis(sigma, e, to))) * -np.expm1(-1 / s), e
        )


class DiskSource(Shape):
    """Disk of one brightness, with a sharp edge at the distance ``r_0``.

    Examples
    --------
    >>> source = DiskSource(0, 0, 1.0)
    >>> source([0, 0], [0.99, 1.01]).round(1).tolist()
    [1045.0, 0.0]
    """

    lon_0 = Parameter(default=0.0, description="longitude, deg")
    lat_0 = Parameter(default=0.0, bounds=(-90, 90), description="latitude, deg")
    r_0 = Parameter(default=0.5, bounds=(0, 180), description="length of the major axis, deg")
    e = Parameter(default=0.0, bounds=(0, 1), fixed=True, description="eccentricity")
    phi = Parameter(default=0.0, fixed=True, description="position angle of the major axis, deg")

    def evaluate(self, lon, lat, lon_0, lat_0, r_0, e, phi):  # type: ignore[no-untyped-def]
        """Surface brightness, sr-1."""
        distance, angle = _polar(lon, lat, lon_0, lat_0)
        inside = distance <= _axis(r_0, e, angle - np.radians(phi))
        return np.where(inside, 1.0, 0.0) / _around(lambda to: _versine(_axis(r_0, e, to)), e)


class ShellSource(Shape):
    """Shell that glows evenly between the radii ``radius`` and ``radius + width``, seen from outside.

    Examples
    --------
    >>> source = ShellSource(0, 0, 1.0, 0.2)
    >>> rim, middle = source([0, 0], [1.0, 0.0])
    >>> bool(rim > 2 * middle > 0)
    True
    """

    lon_0 = Parameter(default=0.0, description="longitude, deg")
    lat_0 = Parameter(default=0.0, bounds=(-90, 90), description="latitude, deg")
    radius = Parameter(default=0.5, bounds=(0, 90), description="inner radius, deg")
    width = Parameter(default=0.1, bounds=(0, 90), description="width, deg")

    def evaluate(self, lon, lat, lon_0, lat_0, radius, width):  # type: ignore[no-untyped-def]
        """Surface brightness, sr-1."""
        distance, _ = _polar(lon, lat, lon_0, lat_0)
        inner, outer = (_versine(np.radians(r)) for r in (radius, radius + width))
        depth = _versine(distance)
        # With the versine for half the squared radius, all integrals are those of the plane.
        column = np.sqrt(np.maximum(outer - depth, 0)) - np.sqrt(np.maximum(inner - depth, 0))
        return column / (4 * np.pi / 3 * (outer**1.5 - inner**1.5))


class ConstantSource(Shape):
    """The same everywhere on the sphere.

    Examples
    --------
    >>> round(float(ConstantSource()(10.0, 20.0) * 4 * np.pi), 12)
    1.0
    """

    value = Parameter(default=1.0, fixed=True, bounds=(0, None), description="factor")

    def evaluate(self, lon, lat, value):  # type: ignore[no-untyped-def]
        """Surface brightness, sr-1."""
        return value / (4 * np.pi) * np.ones(np.broadcast_shapes(np.shape(lon), np.shape(lat)))


class TemplateSource(Shape):
    """Shape from a map, interpolated linearly between its pixels; zero outside of it.

    Parameters
    ----------
    image : DataArray (sky) or ndarray (y, x)
        Surface brightness in any unit: its integral over the map is set to 1. Not negative; NaN stands for 0.
    sky : SkyGrid, optional
        Grid of an ndarray; a DataArray has its own.
    norm : float
        Factor, fixed by default.

    Examples
    --------
    >>> import xonoff
    >>> sky = xonoff.SkyGrid.create((0, 0), shape=(5, 5), pixel_size=0.1)
    >>> source = TemplateSource(np.ones((5, 5)), sky)
    >>> bool(np.isclose(source(0.0, 0.0) * sky.solid_angle().sum(), 1)), float(source(3.0, 0.0))
    (True, 0.0)
    """

    norm = Parameter(default=1.0, fixed=True, bounds=(0, None), description="factor")

    def __init__(self, image: xr.DataArray | npt.ArrayLike, sky: SkyGrid | None = None, norm: float = 1.0) -> None:
        if sky is None and not isinstance(image, xr.DataArray):
            raise ModelError("TemplateSource: an array without grid found: give sky=, or a DataArray that has a wcs")
        grid = sky_grid(image) if sky is None else sky  # type: ignore[arg-type]
        if isinstance(image, xr.DataArray) and set(image.dims) == set(grid.dims()):
            image = image.transpose(*grid.dims())
        values = np.asarray(image, dtype=np.float64)
        values = np.where(np.isnan(values), 0.0, values)
        total = float(np.nansum(values * grid.solid_angle())) if values.shape == grid.shape else np.nan
        if not (values >= 0).all() or not 0 < total < np.inf:
            raise ModelError(
                f"TemplateSource: an image {values.shape} that sums to {total} found, one on the {grid.shape} pixels "
                "of its grid, not negative and with a positive finite sum, accepted"
            )
        self.image, self.sky = values / total, grid
        super().__init__(norm, frame=grid.frame)

    def evaluate(self, lon, lat, norm):  # type: ignore[no-untyped-def]
        """Surface brightness, sr-1."""
        lon, lat = np.broadcast_arrays(lon, lat)
        pixels = self.sky.sky_to_pixel((lon, lat))[::-1]
        return norm * _interpolated(self.image, *(np.asarray(p, dtype=np.float64) for p in pixels))


# -- how it is done ---------------------------------------------------------------------------------------------------


def _polar(lon: Any, lat: Any, lon_0: Any, lat_0: Any) -> tuple[Floats, Floats]:
    """Distance from the source and position angle there, radians."""
    there = [np.radians(angle) for angle in (lon, lat)]
    here = [np.radians(angle) for angle in (lon_0, lat_0)]
    return angular_separation(*here, *there), position_angle(*here, *there).value


def _versine(angle: Any) -> Any:
    """Give ``1 - cos(angle)`` without cancellation."""
    return 2 * np.sin(angle / 2) ** 2


def _axis(major: Any, e: Any, angle: Any) -> Any:
    """Distance of an ellipse from its middle, radians, at an angle from its major axis."""
    shorter = np.sqrt(1 - np.square(e))
    return np.radians(major) * shorter / np.hypot(shorter * np.cos(angle), np.sin(angle))


def _around(radial: Callable[[Any], Any], e: Any) -> Any:
    """Integral of a radial integral over all directions."""
    if not np.any(e):
        return 2 * np.pi * radial(0.0)
    directions = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    return 2 * np.pi * np.mean(radial(directions))


def _interpolated(image: Floats, y: Floats, x: Floats) -> Floats:
    """Bilinear values; at the outermost half pixels those of the edge, beyond them and off the sky 0."""
    ny, nx = image.shape
    inside = (y >= -0.5) & (y <= ny - 0.5) & (x >= -0.5) & (x <= nx - 0.5)
    y, x = (np.clip(np.where(inside, p, 0), 0, n - 1) for p, n in ((y, ny), (x, nx)))
    row, column = (np.minimum(p.astype(int), max(n - 2, 0)) for p, n in ((y, ny), (x, nx)))
    below, right = np.minimum(row + 1, ny - 1), np.minimum(column + 1, nx - 1)
    fy, fx = y - row, x - column
    top = image[row, column] * (1 - fx) + image[row, right] * fx
    bottom = image[below, column] * (1 - fx) + image[below, right] * fx
    return np.where(inside, top * (1 - fy) + bottom * fy, 0.0)


def _check(shape: Shape) -> None:
    """Refuse sizes that give no shape."""
    values = {name: float(getattr(shape, name).value) for name in shape.param_names}
    if not np.isfinite(list(values.values())).all():
        raise ModelError(f"{type(shape).__name__}: {values} found, finite numbers accepted")
    wrong = [name for name in ("sigma", "r_0", "width") if name in values and not 0 < values[name] <= 180]
    wrong += [name for name in ("radius",) if name in values and not 0 <= values[name] <= 90]
    wrong += [name for name in ("e",) if name in values and not 0 <= values[name] < 1]
    wrong += [name for name in ("lat_0",) if name in values and not -90 <= values[name] <= 90]
    if "radius" in values and values["radius"] + values["width"] > 90:
        wrong.append("width")
    if wrong:
        accepted = {"e": "0 to below 1", "lat_0": "-90 to 90 deg", "radius": "0 to 90 deg"}
        raise ModelError(
            f"{type(shape).__name__}: {wrong[0]} = {values[wrong[0]]} found, "
            f"{accepted.get(wrong[0], 'above 0, up to 180 deg')} accepted"
        )
