r"""Shapes of sources on the sphere: point, Gaussian, disk, shell, template map, isotropic.

Each is an astropy model of two inputs, longitude and latitude in degrees in its `frame`, that gives the surface
brightness in sr-1. Its integral over the sphere is 1; distances are great-circle distances, so poles and the seam of
the longitude are places like others. Elongated shapes have the axis ``sigma`` or ``r_0`` at the position angle ``phi``
(from north over east), and the axis ``sqrt(1 - e**2)`` times that across. Parameters within the bounds that they begin
with always give a shape. Where a position is NaN, as it is off the sky, so is the brightness.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord, angular_separation, position_angle
from astropy.modeling import Fittable2DModel, Parameter

from xonoff.errors import ModelError, SchemaError
from xonoff.geometry import sky_grid
from xonoff.models.integration import interpolated, map_integral
from xonoff.skygrid import SkyGrid
from xonoff.units import floats_in, value_in

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
#: Frames, in which a position is one on the sky whoever looks, from wherever and whenever.
FRAMES = ("icrs", "galactic", "fk5", "fk4", "supergalactic")
#: Bounds: of sizes, deg, below which positions have too few digits, and of eccentricities, the largest float below 1.
SMALLEST, BELOW_1 = 1e-6, float(np.nextafter(1, 0))
#: What to do about a parameter that is none.
HINTS = {
    "lat_0": ": the longitude comes first",
    "sigma": ": take a PointSource for what is smaller",
    "r_0": ": take a PointSource for what is smaller",
}
#: Points on a quarter of an ellipse over which its shape is normalised; such sums converge exponentially.
QUARTER = (np.arange(200) + 0.5) * (np.pi / 2 / 200)
#: Share of a Gaussian that may lie beyond its extent.
BEYOND = 1e-8


class Shape(Fittable2DModel):  # type: ignore[misc]  # astropy is untyped
    """What all shapes share: take one of those.

    Parameters
    ----------
    *parameters : float
        As the shape names them; angles in deg.
    frame : str
        Celestial frame of positions and position angles: "icrs", "galactic", "fk5" (J2000), "fk4" (B1950) or
        "supergalactic".
    **kwargs
        Parameters by name, and what astropy's models take: ``fixed``, ``bounds``, ``tied``.

    Examples
    --------
    >>> PointSource("266.4 deg", -29, frame="galactic", fixed={"lat_0": True}).lat_0.fixed
    True
    """

    n_outputs: ClassVar[int] = 1

    def __init__(self, *parameters: float, frame: str = "icrs", **kwargs: Any) -> None:
        if not isinstance(frame, str) or frame not in FRAMES:
            raise ModelError(
                f"{type(self).__name__}: frame {str(frame)[:80]!r} found, one of {list(FRAMES)} accepted: transform "
                "the position to one of these"
            )
        self.frame = frame
        given = dict(zip(self.param_names, parameters, strict=False))
        given |= {name: kwargs.pop(name) for name in self.param_names if name in kwargs}
        super().__init__(**{name: self._plain(name, value) for name, value in given.items()}, **kwargs)
        check_shape(self)

    def _plain(self, name: str, value: Any) -> float:
        try:
            return value_in(value, "" if name in PLAIN else "deg")
        except SchemaError as error:
            raise ModelError(f"{type(self).__name__}: {name}: {error}") from error

    @property
    def position(self) -> SkyCoord | None:
        """Position of the source; None for a shape that has none."""
        if "lon_0" not in self.param_names:
            return None
        return SkyCoord(self.lon_0.value, self.lat_0.value, unit="deg", frame=self.frame)

    @property
    def radial(self) -> bool:
        """True if the brightness depends on the distance from `position` alone.

        Examples
        --------
        >>> GaussianSource(0, 0, 1).radial, GaussianSource(0, 0, 1, e=0.5).radial, ConstantSource().radial
        (True, False, False)
        """
        round_ = "e" not in self.param_names or float(self.e.value) == 0
        return "lon_0" in self.param_names and round_

    @property
    def extent(self) -> float:
        """Radius that holds the shape, deg: around `position`, or around the middle of the map of a template.

        Examples
        --------
        >>> PointSource(0, 0).extent, DiskSource(0, 0, 0.5).extent, ConstantSource().extent
        (0.0, 0.5, 180.0)
        """
        return 180.0


class PointSource(Shape):
    """A point; it has no surface brightness, predictions integrate the PSF.

    Parameters
    ----------
    lon_0, lat_0 : angle, deg
        Position.
    **kwargs
        ``frame="icrs"``, and what astropy's models take: ``fixed``, ``bounds``, ``tied``.

    Examples
    --------
    >>> PointSource(83.63, 22.01).position.to_string()
    '83.63 22.01'
    """

    lon_0 = Parameter(default=0.0, description="longitude, deg")
    lat_0 = Parameter(default=0.0, bounds=(-90, 90), description="latitude, deg")

    @property
    def extent(self) -> float:
        """Nothing, 0 deg."""
        return 0.0

    def evaluate(self, lon, lat, lon_0, lat_0):  # type: ignore[no-untyped-def]  # astropy takes annotations for units
        """Refused: infinite at one position."""
        raise ModelError("PointSource: a point has no surface brightness: predict counts, or take a narrow Gaussian")


class GaussianSource(Shape):
    r"""Gaussian on the sphere, ``exp(-(1 - cos d) / (2 (1 - cos sigma)))`` at a distance d (Fisher's distribution).

    For a small sigma it is the Gaussian of the plane, where 39 % lie within sigma.

    Parameters
    ----------
    lon_0, lat_0 : angle, deg
        Position of its middle.
    sigma : angle, deg
        Along the major axis.
    e : float
        Eccentricity, fixed by default: the other axis is ``sqrt(1 - e**2)`` times as long.
    phi : angle, deg
        Position angle of the major axis, north through east, fixed by default.
    **kwargs
        ``frame="icrs"``, and what astropy's models take: ``fixed``, ``bounds``, ``tied``.

    Examples
    --------
    >>> source = GaussianSource(83.63, 22.01, 0.1)
    >>> bool(np.isclose(source(83.63, 22.01), 1 / (2 * np.pi * np.radians(0.1) ** 2)))
    True
    """

    lon_0 = Parameter(default=0.0, description="longitude, deg")
    lat_0 = Parameter(default=0.0, bounds=(-90, 90), description="latitude, deg")
    sigma = Parameter(default=0.1, bounds=(SMALLEST, 180), description="length of the major axis, deg")
    e = Parameter(default=0.0, bounds=(0, BELOW_1), fixed=True, description="eccentricity")
    phi = Parameter(default=0.0, fixed=True, description="position angle of the major axis, deg")

    @property
    def extent(self) -> float:
        """Radius beyond which less than 1e-8 of the source lies, deg: 6.07 sigma where that is small."""
        scale = _versine(np.radians(float(self.sigma.value)))
        left = BEYOND + (1 - BEYOND) * np.exp(-1 / scale)
        return float(np.degrees(2 * np.arcsin(np.sqrt(-scale * np.log(left)))))

    def evaluate(self, lon, lat, lon_0, lat_0, sigma, e, phi):  # type: ignore[no-untyped-def]
        """Surface brightness, sr-1."""
        distance, angle = _polar(lon, lat, lon_0, lat_0)
        scale = _versine(_axis(sigma, e, angle - np.radians(phi)))
        total = _around(lambda axis: 2 * (s := _versine(axis)) * -np.expm1(-1 / s), sigma, e)
        return np.exp(-_versine(distance) / (2 * scale)) / total


class DiskSource(Shape):
    """Disk of one brightness, with a sharp edge at the distance ``r_0``.

    Parameters
    ----------
    lon_0, lat_0 : angle, deg
        Position of its middle.
    r_0 : angle, deg
        Half of the major axis.
    e : float
        Eccentricity, fixed by default: the other axis is ``sqrt(1 - e**2)`` times as long.
    phi : angle, deg
        Position angle of the major axis, north through east, fixed by default.
    **kwargs
        ``frame="icrs"``, and what astropy's models take: ``fixed``, ``bounds``, ``tied``.

    Examples
    --------
    >>> source = DiskSource(0, 0, 1.0)
    >>> source([0, 0], [0.99, 1.01]).round(1).tolist()
    [1045.0, 0.0]
    """

    lon_0 = Parameter(default=0.0, description="longitude, deg")
    lat_0 = Parameter(default=0.0, bounds=(-90, 90), description="latitude, deg")
    r_0 = Parameter(default=0.5, bounds=(SMALLEST, 180), description="length of the major axis, deg")
    e = Parameter(default=0.0, bounds=(0, BELOW_1), fixed=True, description="eccentricity")
    phi = Parameter(default=0.0, fixed=True, description="position angle of the major axis, deg")

    @property
    def extent(self) -> float:
        """Its larger half axis, deg."""
        return float(self.r_0.value)

    def evaluate(self, lon, lat, lon_0, lat_0, r_0, e, phi):  # type: ignore[no-untyped-def]
        """Surface brightness, sr-1."""
        distance, angle = _polar(lon, lat, lon_0, lat_0)
        inside = np.heaviside(_axis(r_0, e, angle - np.radians(phi)) - distance, 1.0)
        return inside / _around(_versine, r_0, e)


class ShellSource(Shape):
    """Shell that glows evenly between the radii ``radius`` and ``radius + width``, seen from outside.

    Parameters
    ----------
    lon_0, lat_0 : angle, deg
        Position of its middle.
    radius, width : angle, deg
        Inner radius, and how thick it is.
    **kwargs
        ``frame="icrs"``, and what astropy's models take: ``fixed``, ``bounds``, ``tied``.

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
    width = Parameter(default=0.1, bounds=(SMALLEST, 90), description="width, deg")

    @property
    def extent(self) -> float:
        """Its outer radius, deg."""
        return float(self.radius.value + self.width.value)

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

    Parameters
    ----------
    value : float
        Factor, fixed by default.
    **kwargs
        ``frame="icrs"``, and what astropy's models take: ``fixed``, ``bounds``, ``tied``.

    Examples
    --------
    >>> round(float(ConstantSource()(10.0, 20.0) * 4 * np.pi), 12)
    1.0
    """

    value = Parameter(default=1.0, fixed=True, bounds=(0, None), description="factor")

    def evaluate(self, lon, lat, value):  # type: ignore[no-untyped-def]
        """Surface brightness, sr-1."""
        lon, lat = _degrees(lon, lat)
        return value / (4 * np.pi) * _known(lon, lat)


class TemplateSource(Shape):
    """Shape from a map, interpolated linearly between its pixels; zero outside of it.

    Parameters
    ----------
    image : DataArray (sky) or ndarray (y, x)
        Surface brightness in any unit: its integral over the sky, as it is interpolated, is set to 1. Not negative; NaN
        stands for 0.
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
        if not _one_to_one(grid):
            raise ModelError(
                f"TemplateSource: a map in the projection {grid.projection} found, with several pixels at one place of "
                "the sky, one such as CAR, TAN, AIT or ZEA accepted: reproject it"
            )
        values = np.asarray(image, dtype=np.float64)
        values = np.where(np.isnan(values), 0.0, values)
        good = values.shape == grid.shape and (values >= 0).all() and np.isfinite(values).all()
        total = map_integral(values, grid) if good else np.nan
        if not 0 < total < np.inf:
            raise ModelError(
                f"TemplateSource: an image {values.shape} whose integral is {total} found, one on the {grid.shape} "
                "pixels of its grid, not negative, finite and with a positive integral, accepted"
            )
        self.image, self.sky = values / total, grid
        super().__init__(norm, frame=grid.frame)

    @property
    def extent(self) -> float:
        """Largest distance of its rim from the middle of the map, deg; 180 where that is off the sky."""
        lon_0, lat_0 = self.sky.center
        if self.sky.contains((lon_0 + 180, -lat_0)):
            return 180.0
        y, x = (np.arange(n + 1) - 0.5 for n in self.sky.shape)
        sides = [(x, y[0]), (x, y[-1]), (x[0], y), (x[-1], y)]  # no place inside is farther, but the antipode
        lon, lat = np.hstack([self.sky.pixel_to_sky(*np.broadcast_arrays(*side)) for side in sides])
        distance, _ = _polar(lon, lat, lon_0, lat_0)
        return float(np.degrees(distance.max())) if np.isfinite(distance).all() else 180.0

    def evaluate(self, lon, lat, norm):  # type: ignore[no-untyped-def]
        """Surface brightness, sr-1."""
        lon, lat = _degrees(lon, lat)
        x, y = self.sky.sky_to_pixel((lon, lat))
        return norm * interpolated(self.image, y, x) * _known(lon, lat)


# -- how it is done ---------------------------------------------------------------------------------------------------


def _degrees(lon: Any, lat: Any) -> tuple[Floats, Floats]:
    """Positions in degrees; what is none is refused, but for NaN."""
    lon, lat = floats_in(lon, "deg"), floats_in(lat, "deg")
    wrong = (np.abs(lat) > 90 + 1e-9) | np.isinf(lon)
    if wrong.any():
        there = tuple(float(angle[wrong][0]) for angle in np.broadcast_arrays(lon, lat))
        raise ModelError(f"longitude and latitude {there} found, finite ones in this order, -90 to 90 deg, accepted")
    return lon, lat


def _known(lon: Floats, lat: Floats) -> Floats:
    """1, or NaN where a position is none."""
    return np.where(np.isnan(lon + lat), np.nan, 1.0)


def _polar(lon: Any, lat: Any, lon_0: Any, lat_0: Any) -> tuple[Floats, Floats]:
    """Distance from the source and position angle there, radians."""
    there = [np.radians(angle) for angle in _degrees(lon, lat)]
    here = [np.radians(angle) for angle in (lon_0, lat_0)]
    return angular_separation(*here, *there), position_angle(*here, *there).value


def _versine(angle: Any) -> Any:
    """Give ``1 - cos(angle)`` without cancellation."""
    return 2 * np.sin(angle / 2) ** 2


def _axis(major: Any, e: Any, angle: Any) -> Any:
    """Distance of an ellipse from its middle, radians, at an angle from its major axis."""
    shorter = _ratio(e)
    return np.radians(major) * shorter / np.hypot(shorter * np.cos(angle), np.sin(angle))


def _ratio(e: Any) -> Any:
    """Minor axis over major axis."""
    return np.sqrt((1 - e) * (1 + e))


def _around(radial: Callable[[Any], Any], major: Any, e: Any) -> Any:
    """Integral over all directions of a function of the axis there, radians.

    At even steps of the parameter t of the ellipse, (a cos t, b sin t), where the angle goes by a b / axis**2.
    """
    a = np.radians(major)[..., None]
    b = a * _ratio(e)[..., None]
    axis = np.hypot(a * np.cos(QUARTER), b * np.sin(QUARTER))
    return 2 * np.pi * np.mean(radial(axis) * a * b / axis**2, axis=-1)


def _one_to_one(sky: SkyGrid) -> bool:
    """Tell whether the pixels of a map have places of their own; those at a seam need not."""
    y, x = np.meshgrid(*(np.linspace(0, n - 1, min(n, 64)) for n in sky.shape), indexing="ij")
    lon, lat = sky.pixel_to_sky(x, y)
    on = np.isfinite(lon)
    back_x, back_y = sky.sky_to_pixel((lon[on], lat[on]))
    same = np.hypot(back_x - x[on], back_y - y[on]) < 0.1
    return bool(np.count_nonzero(same) >= 0.95 * same.size)


def check_shape(shape: Shape) -> None:
    """Refuse parameters that give no shape: those out of the bounds that its class has."""
    for name in shape.param_names:
        value = float(getattr(shape, name).value)
        low, high = getattr(type(shape), name).bounds
        if not (-np.inf if low is None else low) <= value <= (np.inf if high is None else high) or np.isinf(value):
            accepted = "finite numbers" if low is None else f"{low} or more" if high is None else f"{low} to {high}"
            raise ModelError(
                f"{type(shape).__name__}: {name} = {value} found, {accepted}{'' if name in PLAIN else ' deg'} accepted"
                f"{HINTS.get(name, '')}"
            )
