"""Files exchanged with gammapy 2.1, where it is installed (make bench)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy.time import Time
from conftest import DATA

import xonoff

datasets = pytest.importorskip("gammapy.datasets", reason="gammapy 2.1 is not installed: make bench runs these")
pytestmark = pytest.mark.filterwarnings("default")  # gammapy's own warnings are its own

FILES = sorted(DATA.glob("*/*onoff_*.fits.gz")) if DATA.is_dir() else []
FILES = [file for file in FILES if file.parent.name != "reference-arrays"]
MAPS = ("counts", "counts_off", "acceptance", "acceptance_off", "mask_safe", "exposure")


def assert_equal(ours: xr.Dataset, theirs: Any, rtol: float = 0) -> None:
    """Every array, axis, mask, GTI and livetime."""
    for name in MAPS:
        np.testing.assert_allclose(ours[name], getattr(theirs, name).data, rtol=rtol, err_msg=name)
    assert theirs.exposure.unit == "m2 s"
    for name in ("psf", "edisp"):
        cube = getattr(theirs, name)
        stored = getattr(cube, f"{name}_map")
        stated = {"psf": "sr-1", "edisp": ""}[name]
        np.testing.assert_allclose(ours[name], stored.quantity.to_value(stated), rtol=max(rtol, 1e-6))
        weight = ours[f"{name}_exposure"]
        np.testing.assert_allclose(weight, cube.exposure_map.data.reshape(weight.shape), rtol=rtol)
    axes = theirs.counts.geom.axes
    np.testing.assert_allclose(ours.onoff.geom.energy, axes["energy"].edges.to_value("TeV"), rtol=1e-14)
    assert axes["energy"].interp == "log"
    coord = theirs.counts.geom.to_image().get_coord()
    lon, lat = coord.lon.to_value("deg"), coord.lat.to_value("deg")
    ours_lon, ours_lat = ours.onoff.geom.sky.lonlat()
    np.testing.assert_allclose((ours_lon - lon + 180) % 360 - 180, 0, atol=1e-9)
    np.testing.assert_allclose(ours_lat, lat, atol=1e-9)
    np.testing.assert_allclose(ours.onoff.livetime, theirs.exposure.meta["livetime"].to_value("s"), rtol=1e-12)
    np.testing.assert_allclose(ours.onoff.gti.duration, theirs.gti.time_delta.to_value("s"), atol=1e-6)
    seconds = (ours.gti_start.values - np.datetime64("2000-01-01", "ns")) / np.timedelta64(1, "s")
    expected = (theirs.gti.time_start.tt - Time("2000-01-01", scale="tt")).to_value("s")
    np.testing.assert_allclose(seconds, expected, atol=1e-6)
    assert ours.onoff.name == theirs.name


def assert_same_statistic(ours: xr.Dataset, theirs: Any) -> None:
    np.testing.assert_allclose(ours.onoff.stat_sum(), theirs.stat_sum(), rtol=1e-5)


def test_the_tutorial_dataset(ds: xr.Dataset, tmp_path: Path) -> None:
    ds.onoff.to_fits(tmp_path / "ours.fits")
    theirs = datasets.MapDatasetOnOff.read(tmp_path / "ours.fits", checksum=True)
    assert_equal(ds, theirs)
    assert_same_statistic(ds, theirs)
    assert list(theirs.meta_table["OBS_ID"].ravel()) == [1, 2]
    theirs.write(tmp_path / "theirs.fits")
    back = xonoff.open_dataset(tmp_path / "theirs.fits")
    for name in ds.data_vars:
        np.testing.assert_array_equal(back[name], ds[name], err_msg=str(name))
    np.testing.assert_array_equal(back.gti_stop, ds.gti_stop)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_real_files_there_and_back(file: Path, tmp_path: Path) -> None:
    theirs = datasets.MapDatasetOnOff.read(file)
    ours = xonoff.open_dataset(file, round_counts_off=False)
    assert_equal(ours, theirs)
    ours.onoff.to_fits(tmp_path / "ours.fits")
    again = datasets.MapDatasetOnOff.read(tmp_path / "ours.fits", checksum=True)
    assert_equal(ours, again)
    assert again.counts.geom == theirs.counts.geom
    assert again.psf.psf_map.geom == theirs.psf.psf_map.geom
    assert again.edisp.edisp_map.geom == theirs.edisp.edisp_map.geom
    assert again.exposure.geom == theirs.exposure.geom
    if not {"fftnoise", "adaptive"} & set(file.name.replace(".", "_").split("_")):
        assert_same_statistic(ours, again)


def test_a_selection_is_a_cutout(ds: xr.Dataset, tmp_path: Path) -> None:
    part = ds.isel(lat=slice(5, 35), lon=slice(0, 20), energy=slice(1, 6))
    part.onoff.to_fits(tmp_path / "part.fits")
    theirs = datasets.MapDatasetOnOff.read(tmp_path / "part.fits")
    assert_equal(part, theirs)
    assert_same_statistic(part, theirs)


@pytest.mark.parametrize("stem", ["mapdataset_run23526", "mapdataset_image_run23526"])
def test_map_datasets(stem: str, tmp_path: Path) -> None:
    file = DATA / "hess-crab" / f"{stem}.fits.gz"
    if not file.exists():
        pytest.skip("no test data: set XONOFF_TEST_DATA")
    ours = xonoff.open_dataset(file)
    ours.onoff.to_fits(tmp_path / "ours.fits")
    theirs = datasets.MapDataset.read(tmp_path / "ours.fits")
    np.testing.assert_array_equal(ours.background, theirs.background.data)
    np.testing.assert_array_equal(ours.counts, theirs.counts.data)
