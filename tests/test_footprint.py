import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.errors import SchemaError
from xonoff.footprint import cone_of, footprint, touched


def map_at(lon, lat, size, pixel, projection, frame="icrs"):
    sky = xonoff.SkyGrid.create(
        (lon, lat), shape=(size, size + 3), pixel_size=pixel, projection=projection, frame=frame
    )
    geom = xonoff.Geom(sky, (1.0, 2.0))
    return xr.Dataset({"counts": (geom.dims, np.zeros(geom.shape))}, geom.coords())


def distance(ds, lon, lat):
    """Distance of a position to the nearest point of a map, by brute force: points in all of its pixels."""
    sky = xonoff.geometry.sky_grid(ds)
    position = SkyCoord(lon, lat, unit="deg")
    if sky.contains(position):
        return 0.0
    ny, nx = sky.shape
    y, x = np.meshgrid(np.linspace(-0.5, ny - 0.5, 8 * ny + 1), np.linspace(-0.5, nx - 0.5, 8 * nx + 1))
    points = SkyCoord(*sky.pixel_to_sky(x, y), unit="deg", frame=sky.frame)
    return float(points.icrs.separation(position).deg.min())


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["TAN", "CAR", "SIN", "ZEA"]),
    st.sampled_from(["icrs", "galactic"]),
    st.floats(0, 360),
    st.floats(-90, 90),
    st.floats(0, 360),
    st.floats(0, 12),
    st.floats(0, 8),
)
def test_cones_against_brute_force(projection, frame, lon, lat, angle, away, radius):
    lat = lat if projection != "CAR" else lat * 0.8
    ds = map_at(lon, lat, 12, 0.5, projection, frame)
    center = SkyCoord(lon, lat, unit="deg", frame=frame)
    at = center.icrs.directional_offset_by(angle * u.deg, away * u.deg)
    apart = distance(ds, at.ra.deg, at.dec.deg)
    found = bool(touched((at.ra.deg, at.dec.deg, radius), [footprint(ds)])[0])
    if radius > apart + 0.01:
        assert found
    if radius < apart - 0.06:  # brute force looks at points 1/16 deg apart
        assert not found


@pytest.mark.parametrize("projection", ["AIT", "CAR", "TAN"])
def test_wide_maps_are_touched_by_any_cone(projection):
    found = footprint(map_at(0, 0, 170, 2.0, projection))
    assert found.outline == ()
    assert touched((180, 80, 0.1), [found]).tolist() == [True]


def test_on_both_sides_of_the_seam():
    found = footprint(map_at(0, 0, 10, 0.2, "CAR"))
    assert touched((0.9, 0, 0.05), [found]).tolist() == touched((359.1, 0, 0.05), [found]).tolist() == [True]
    assert touched((2.0, 0, 0.05), [found]).tolist() == [False]


def test_spectrum():
    assert footprint(xr.Dataset({"counts": ("energy", [1.0])})) is None


@pytest.mark.parametrize(
    "cone", [None, (1, 2, 3), ((0, 0), "x"), ((0, 0), 181), (([0, 1], [0, 1]), 1), ((np.nan, 0), 1)]
)
def test_refused(cone):
    with pytest.raises(SchemaError):
        cone_of(cone)
