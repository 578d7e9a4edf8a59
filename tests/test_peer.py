"""Files exchanged with gammapy 2.1, where it is installed (make bench)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time
from conftest import DATA
from regions import CircleSkyRegion, RectangleSkyRegion

import xonoff

datasets = pytest.importorskip("gammapy.datasets", reason="gammapy 2.1 is not installed: make bench runs these")
data, makers, maps = (pytest.importorskip(f"gammapy.{name}") for name in ("data", "makers", "maps"))
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


# -- flux points ------------------------------------------------------------------------------------------------------


def flux_points(ds: xr.Dataset, **options: Any) -> xr.Dataset:
    from xonoff.models import PointSource, PowerLaw1D, SkyModel

    crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    return xonoff.flux_points(ds, crab, **options)


@pytest.mark.parametrize("suffix", ["fits", "ecsv"])
@pytest.mark.parametrize("kind", ["likelihood", "dnde", "flux", "e2dnde", "eflux"])
def test_flux_points_there_and_back(ds: xr.Dataset, tmp_path: Path, suffix: str, kind: str) -> None:
    estimators = pytest.importorskip("gammapy.estimators")
    ours = flux_points(ds)
    xonoff.write_sed(ours, tmp_path / f"ours.{suffix}", sed_type=kind)
    reference = None
    if kind != "likelihood":  # gammapy would take a power law of index 2
        spectra = pytest.importorskip("gammapy.modeling.models")
        reference = spectra.PowerLawSpectralModel(amplitude="3.5e-11 cm-2 s-1 TeV-1", index=2.6)
    theirs = estimators.FluxPoints.read(tmp_path / f"ours.{suffix}", reference_model=reference)
    own = "dnde" if kind == "likelihood" else kind
    for name in (own, *(f"{own}{end}" for end in ("_err", "_errn", "_errp", "_ul"))):
        unit = ours[name].attrs["units"]
        np.testing.assert_allclose(getattr(theirs, name).quantity.to_value(unit).ravel(), ours[name], rtol=1e-6)
    for name in ("ts", "sqrt_ts", "stat", "stat_null", "counts", "npred", "is_ul"):
        np.testing.assert_allclose(getattr(theirs, name).data.ravel(), ours[name], rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(theirs.npred_excess.data.ravel(), ours.npred_signal, rtol=1e-12)
    np.testing.assert_allclose(theirs.energy_axis.edges.to_value("TeV"), ds.onoff.geom.energy, rtol=1e-12)
    assert theirs.meta["n_sigma_ul"] == 2
    if kind == "likelihood":
        np.testing.assert_allclose(theirs.stat_scan.data[:, :, 0, 0], ours.stat_scan)
        np.testing.assert_allclose(theirs.stat_scan.geom.axes["norm"].center, ours.norm_scan)
    theirs.write(tmp_path / f"theirs.{suffix}", sed_type=kind)
    back = xonoff.read_sed(tmp_path / f"theirs.{suffix}")
    for name in back.data_vars:
        if name in ours:
            np.testing.assert_allclose(back[name], ours[name], rtol=1e-6, err_msg=str(name))
    for name in (own, f"{own}_ul", "ts", "counts", "is_ul"):
        assert name in back


def test_flux_points_agree(ds: xr.Dataset, tmp_path: Path) -> None:
    """Its predictions for a point are off by some percent a pixel, which moves norms by a part of their errors.

    Its errors and limits are roots of the same function, found to 1e-2; in the two highest bins there are few counts.
    """
    estimators = pytest.importorskip("gammapy.estimators")
    modeling = pytest.importorskip("gammapy.modeling.models")
    ds.onoff.to_fits(tmp_path / "a.fits")
    peer = datasets.MapDatasetOnOff.read(tmp_path / "a.fits")
    spectrum = modeling.PowerLawSpectralModel(amplitude="3.5e-11 cm-2 s-1 TeV-1", index=2.6)
    place = modeling.PointSpatialModel(lon_0="83.633 deg", lat_0="22.014 deg", frame="icrs")
    peer.models = [modeling.SkyModel(spectrum, place, name="crab")]
    edges = peer.counts.geom.axes["energy"].edges
    estimator = estimators.FluxPointsEstimator(
        source="crab", energy_edges=edges, selection_optional=["errn-errp", "ul"]
    )
    theirs = estimator.run(datasets.Datasets([peer]))
    ours = flux_points(ds, interpolation="nearest")
    for name in ("ref_dnde", "ref_flux", "ref_eflux"):
        quantity = getattr(theirs, f"{name[4:]}_ref").to_value(ours[name].attrs["units"]).ravel()
        np.testing.assert_allclose(quantity, ours[name], rtol=1e-3 if name == "ref_eflux" else 1e-10)
    shift = (theirs.norm.data.ravel() - ours.norm) / ours.norm_err
    assert (abs(shift) < 0.3).all()
    for name in ("norm_err", "norm_errp", "norm_ul"):
        np.testing.assert_allclose(getattr(theirs, name).data.ravel(), ours[name], rtol=0.03, err_msg=name)
    # At the highest energy its lower error is that of a search that did not converge.
    np.testing.assert_allclose(theirs.norm_errn.data.ravel()[:-1], ours.norm_errn[:-1], rtol=0.03)
    np.testing.assert_allclose(theirs.sqrt_ts.data.ravel()[:5], ours.sqrt_ts[:5], rtol=0.03)


# -- reflected regions ------------------------------------------------------------------------------------------------

WOBBLE = SkyCoord(83.63, 22.51, unit="deg")


@pytest.mark.parametrize("binsz", [0.01, 0.002])
@pytest.mark.parametrize(
    ("away", "radius", "distance", "distance_on"),
    [(0.5, 0.1, 0, 0.1), (0.5, 0.11, 0, 0.1), (0.7, 0.14, 0, 0.3), (0.5, 0.1, 0.2, 0.1), (1.0, 0.2, 0.05, 0.1)],
)
def test_reflected_regions_are_those_of_the_peer(
    away: float, radius: float, distance: float, distance_on: float, binsz: float
) -> None:
    """As many, in the same order and places, as far as the peer's pixels tell the angular size of a region."""
    on = CircleSkyRegion(WOBBLE.directional_offset_by(180 * u.deg, away * u.deg), radius * u.deg)
    finder = makers.ReflectedRegionsFinder(
        min_distance=distance * u.rad, min_distance_input=distance_on * u.rad, binsz=binsz * u.deg
    )
    theirs, _ = finder.run(on, WOBBLE)
    ours = xonoff.reflected_regions(on, WOBBLE, min_distance=f"{distance} rad", min_distance_on=f"{distance_on} rad")
    assert len(ours) == len(theirs)
    for number, (a, b) in enumerate(zip(theirs, ours, strict=True), 1):
        assert a.center.separation(b.center).deg < number * binsz


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_wobble_regions_are_those_of_the_peer(n: int) -> None:
    on = CircleSkyRegion(WOBBLE.directional_offset_by(180 * u.deg, 0.5 * u.deg), 0.1 * u.deg)
    theirs, _ = makers.WobbleRegionsFinder(n).run(on, WOBBLE)
    ours = xonoff.reflected_regions(on, WOBBLE, number=n)
    assert len(ours) == len(theirs) == n
    for a, b in zip(theirs, ours, strict=True):
        assert a.center.separation(b.center).deg < 1e-10


def test_reflected_regions_of_a_rectangle_and_with_an_exclusion_are_those_of_the_peer() -> None:
    center = WOBBLE.directional_offset_by(180 * u.deg, 0.5 * u.deg)
    finder = makers.ReflectedRegionsFinder(binsz=0.002 * u.deg)
    on = RectangleSkyRegion(center, 0.3 * u.deg, 0.15 * u.deg, 30 * u.deg)
    theirs, ours = finder.run(on, WOBBLE)[0], xonoff.reflected_regions(on, WOBBLE)
    assert len(theirs) == len(ours) == 8
    for number, (a, b) in enumerate(zip(theirs, ours, strict=True), 1):
        assert a.center.separation(b.center).deg < number * 0.004
        assert abs((a.angle - b.angle).to_value("deg") + 180) % 360 - 180 < 0.5 * number
    on, bad = (CircleSkyRegion(c, r * u.deg) for c, r in ((center, 0.1), (SkyCoord(83.2, 22.7, unit="deg"), 0.2)))
    geom = maps.WcsGeom.create(skydir=WOBBLE, width=3, binsz=0.01, proj="TAN", frame="icrs")
    theirs = finder.run(on, WOBBLE, geom.region_mask([bad], inside=False))[0]
    ours = xonoff.reflected_regions(on, WOBBLE, bad)
    assert len(theirs) == len(ours) == 11
    for number, (a, b) in enumerate(zip(theirs, ours, strict=True), 1):
        assert a.center.separation(b.center).deg < number * 0.004


def test_off_counts_of_a_run_are_those_of_the_peer(data_dir: Path) -> None:
    """Events of a run on fine pixels, against the peer's spectrum of the events themselves."""
    store = data.DataStore.from_dir(data_dir / "hess-crab" / "dl3")
    observation = store.get_observations([23526])[0]
    on = CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.11 * u.deg)
    edges = np.geomspace(0.5, 50, 6)
    energy, true = (maps.MapAxis.from_energy_bounds(0.5, 50, 5, unit="TeV", name=n) for n in ("energy", "energy_true"))
    empty = datasets.SpectrumDataset.create(maps.RegionGeom.create(on, axes=[energy]), energy_axis_true=true)
    spectrum = makers.SpectrumDatasetMaker(selection=["counts"]).run(empty, observation)
    theirs = makers.ReflectedRegionsBackgroundMaker(binsz=0.002 * u.deg).run(spectrum, observation)

    pointing = observation.get_pointing_icrs(observation.tmid)
    geom = xonoff.Geom.create(pointing, width=1.6, pixel_size=0.005, projection="TAN", energy=edges)
    events = observation.events
    x, y = geom.sky.sky_to_pixel(events.radec)
    bins = [edges, *(np.arange(n + 1) - 0.5 for n in geom.shape[1:])]
    counts, _ = np.histogramdd([events.energy.to_value("TeV"), y, x], bins=bins)
    ds = xr.Dataset({"counts": (geom.dims, counts, {"units": "1"})}, geom.coords())
    ours = xonoff.reflected_spectrum(ds, on, pointing, weights="number")
    np.testing.assert_allclose(ours.onoff.alpha, theirs.alpha.data.ravel(), rtol=1e-6)
    for name in ("counts", "counts_off"):
        a, b = ours[name].values, getattr(theirs, name).data.ravel()
        assert b.sum() > 90
        assert np.abs(a - b).sum() <= 0.05 * b.sum(), (a, b)  # events of pixels across the borders
