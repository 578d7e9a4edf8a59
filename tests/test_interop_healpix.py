"""Images in HEALPix cells, as astropy-healpix has them and as healpy and gammapy read them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.io import fits

import xonoff
from xonoff.errors import GeometryError, SchemaError
from xonoff.interop import to_healpix, write_healpix

healpix = pytest.importorskip("astropy_healpix", reason="astropy-healpix is not installed: extra interop")


def cells_of(cells: xr.DataArray) -> Any:
    attrs = cells.cell_ids.attrs
    return healpix.HEALPix(attrs["nside"], order=attrs["indexing_scheme"], frame=attrs["frame"])


@pytest.mark.parametrize("nside", [8, 128, 512, 4096])
@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_counts_are_conserved(ds: xr.Dataset, nside: int, frame: str) -> None:
    image = ds.counts.sum("energy")
    cells = to_healpix(image, nside, frame=frame)
    assert float(cells.sum()) == pytest.approx(float(image.sum()), rel=1e-12)
    assert (np.diff(cells.cell_ids) > 0).all()
    x, y = ds.onoff.geom.sky.sky_to_pixel(cells_of(cells).healpix_to_skycoord(cells.cell_ids.values))
    size = np.degrees(np.sqrt(np.pi / 3) / nside)
    assert np.abs(x - 19.5).max() < 20 + 2 * size / 0.1
    assert np.abs(y - 19.5).max() < 20 + 2 * size / 0.1
    assert len(cells) >= 4 * 4 * np.cos(np.radians(22)) / size**2


@pytest.mark.parametrize("nest", [False, True])
def test_a_smooth_image_has_its_values_at_the_cells(ds: xr.Dataset, nest: bool) -> None:
    sky = ds.onoff.geom.sky
    lon, lat = sky.lonlat()
    dims = ds.onoff.sky_dims
    image = xr.DataArray(3 + (lat - 22) + 0.5 * (lon - 83.6), dims=dims, coords=sky.coords(), name="slope")
    cells = to_healpix(image, 1024, nest=nest, mean=True)
    middle = cells_of(cells).healpix_to_skycoord(cells.cell_ids.values)
    inside = sky.slice(slice(2, -2), slice(2, -2)).contains(middle)
    expected = 3 + (middle.dec.deg - 22) + 0.5 * (middle.ra.deg - 83.6)
    np.testing.assert_allclose(cells[inside], expected[inside], atol=0.06)  # half a pixel
    assert abs((cells.values - expected)[inside].mean()) < 1e-3


def test_both_schemes_hold_the_same(ds: xr.Dataset) -> None:
    image = ds.counts.sum("energy")
    ring, nested = (to_healpix(image, 256, nest=nest) for nest in (False, True))
    numbers = cells_of(ring).lonlat_to_healpix(*cells_of(nested).healpix_to_lonlat(nested.cell_ids.values))
    order = np.argsort(numbers)
    np.testing.assert_array_equal(numbers[order], ring.cell_ids)
    np.testing.assert_allclose(nested[order], ring, rtol=1e-12)
    assert nested.cell_ids.attrs["level"] == 8


def test_one_pixel_goes_to_the_cell_that_it_is_in() -> None:
    sky = xonoff.SkyGrid.create((30, 40), shape=(1, 2), pixel_size=0.001, projection="TAN", frame="galactic")
    image = xr.DataArray(np.array([[np.nan, 7.0]]), dims=sky.dims(), coords=sky.coords())
    [cell] = to_healpix(image, 32)
    assert float(cell) == 7
    assert int(cell.cell_ids) == int(healpix.HEALPix(32).lonlat_to_healpix(30 * u.deg, 40 * u.deg))


def test_a_mean_weighs_by_solid_angle() -> None:
    sky = xonoff.SkyGrid.create((0, 0), shape=(180, 360), pixel_size=1.0, projection="CAR", frame="galactic")
    image = xr.DataArray(np.ones(sky.shape), dims=sky.dims(), coords=sky.coords())
    cells = to_healpix(image, 4, mean=True)
    assert cells.size == 192
    np.testing.assert_allclose(cells, 1)
    solid = to_healpix(image.copy(data=sky.solid_angle()), 4)
    np.testing.assert_allclose(solid, 4 * np.pi / 192, rtol=0.03)


def test_dask(lazy: xr.Dataset, ds: xr.Dataset) -> None:
    xr.testing.assert_equal(to_healpix(lazy.counts.sum("energy"), 128), to_healpix(ds.counts.sum("energy"), 128))


def test_what_is_refused(ds: xr.Dataset, tmp_path: Path) -> None:
    image = ds.counts.sum("energy")
    with pytest.raises(GeometryError, match="sum over the others first"):
        to_healpix(ds.counts, 64)
    with pytest.raises(SchemaError, match="image: a Dataset found, a DataArray accepted"):
        to_healpix(ds, 64)  # type: ignore[arg-type]
    for nside, nest in ((0, False), (100, True), (2.5, False), (100, False), (2**19, False)):
        with pytest.raises(GeometryError, match="nside = "):
            to_healpix(image, nside, nest=nest)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match="far smaller than pixels"):
        to_healpix(image, 2**18)
    with pytest.raises(GeometryError, match="frame 'fk4' found"):
        to_healpix(image, 64, frame="fk4")
    with pytest.raises(SchemaError, match="not written: an array without cell_ids"):
        write_healpix(image, tmp_path / "a.fits")
    assert not (tmp_path / "a.fits").exists()


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("nest", [False, True])
@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_healpy_reads_them(ds: xr.Dataset, tmp_path: Path, full: bool, nest: bool, frame: str) -> None:
    healpy = pytest.importorskip("healpy", reason="healpy is not installed")
    cells = to_healpix(ds.counts.sum("energy"), 128, nest=nest, frame=frame)
    write_healpix(cells, tmp_path / "counts.fits", full=full)
    found, header = healpy.read_map(tmp_path / "counts.fits", nest=None, h=True, dtype=None, partial=not full)
    header = dict(header)
    assert header["ORDERING"] == ("NESTED" if nest else "RING")
    assert header["COORDSYS"] == {"icrs": "C", "galactic": "G"}[frame]
    assert healpy.get_nside(found) == 128
    np.testing.assert_allclose(found[cells.cell_ids.values], cells, rtol=1e-15)
    others = np.delete(np.asarray(found), cells.cell_ids.values)
    assert (np.isnan(others) | (others == healpy.UNSEEN)).all()
    theta, phi = healpy.pix2ang(128, cells.cell_ids.values, nest=nest)
    middle = cells_of(cells).healpix_to_lonlat(cells.cell_ids.values)
    np.testing.assert_allclose(np.degrees(phi), middle[0].to_value("deg"), atol=1e-9)
    np.testing.assert_allclose(90 - np.degrees(theta), middle[1].to_value("deg"), atol=1e-9)


@pytest.mark.filterwarnings("default")  # gammapy's own warnings are its own
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("nest", [False, True])
@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_gammapy_reads_them(ds: xr.Dataset, tmp_path: Path, full: bool, nest: bool, frame: str) -> None:
    maps = pytest.importorskip("gammapy.maps", reason="gammapy 2.1 is not installed: make bench runs these")
    pytest.importorskip("healpy", reason="healpy is not installed")
    exposure = ds.exposure.isel(energy_true=0)
    cells = to_healpix(exposure, 128, nest=nest, frame=frame, mean=True)
    write_healpix(cells, tmp_path / "exposure.fits", full=full)
    found = maps.Map.read(tmp_path / "exposure.fits")
    assert found.geom.is_hpx
    assert (found.geom.nest, found.geom.frame, int(found.geom.nside[0])) == (nest, frame, 128)
    assert found.unit == "m2 s"
    values = found.get_by_coord(cells_of(cells).healpix_to_skycoord(cells.cell_ids.values))
    np.testing.assert_allclose(values, cells, rtol=1e-6)


def test_files_have_checksums_and_are_not_overwritten(ds: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "counts.fits"
    cells = to_healpix(ds.counts.sum("energy"), 64)
    write_healpix(cells, path)
    with fits.open(path, checksum=True) as hdus:  # a wrong sum is a warning, and so an error
        assert hdus[1].header["INDXSCHM"] == "SPARSE"
        np.testing.assert_array_equal(hdus[1].data["PIX"], cells.cell_ids)
    with pytest.raises(FileExistsError):
        write_healpix(cells, path)
    write_healpix(cells, path, full=True, overwrite=True)
    assert fits.getheader(path, 1)["INDXSCHM"] == "IMPLICIT"
