"""Datasets handed to gammapy 2.1 and back, where it is installed (make bench)."""

from pathlib import Path
from typing import Any

import datasets as made
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time
from conftest import DATA
from regions import CircleAnnulusSkyRegion, CircleSkyRegion

import xonoff
from xonoff.errors import GeometryError, ModelError, SchemaError
from xonoff.interop import from_gammapy, to_gammapy
from xonoff.models import (
    DiskSource,
    ExponentialCutoffPowerLaw1D,
    GaussianSource,
    LogParabola1D,
    PointSource,
    PowerLaw1D,
    SkyModel,
)

peer = pytest.importorskip("gammapy.datasets", reason="gammapy 2.1 is not installed: make bench runs these")
irf, maps, metadata, modeling = (
    pytest.importorskip(f"gammapy.{name}") for name in ("irf", "maps", "utils.metadata", "modeling.models")
)
pytestmark = pytest.mark.filterwarnings("default")  # gammapy's own warnings are its own

FILES = sorted(DATA.glob("*/*onoff_*.fits.gz")) + sorted(DATA.glob("*/mapdataset_*.fits.gz")) if DATA.is_dir() else []
FILES = [file for file in FILES if file.parent.name != "reference-arrays"]
CRAB = SkyCoord(83.633, 22.014, unit="deg")
REGION = CircleSkyRegion(CRAB, 0.3 * u.deg)


def read(file: Path) -> Any:
    kind = peer.MapDataset if file.name.startswith("mapdataset") else peer.MapDatasetOnOff
    return kind.read(file)


def parts(dataset: Any) -> dict[str, Any]:
    """Every map of a dataset."""
    names = ["counts", "exposure", "mask_safe", "mask_fit"]
    names += ["counts_off", "acceptance", "acceptance_off"] if hasattr(dataset, "acceptance") else ["background"]
    found = {name: getattr(dataset, name) for name in names}
    for name in ("psf", "edisp"):
        response = getattr(dataset, name)
        found[name] = None if response is None else getattr(response, f"{name}_map")
        found[f"{name}_exposure"] = None if response is None else response.exposure_map
    return {name: value for name, value in found.items() if value is not None}


def assert_same(a: Any, b: Any) -> None:
    """Everything that two datasets of gammapy are made of, to the last bit, but for a PSF in other units."""
    assert type(a) is type(b)
    assert a.name == b.name
    one, two = parts(a), parts(b)
    assert list(one) == list(two)
    for name, value in one.items():
        other = two[name]
        if value.unit == other.unit:
            np.testing.assert_array_equal(value.data, other.data, err_msg=name)
        else:  # one of the files has its PSF in deg-2
            assert name == "psf"
            np.testing.assert_allclose(other.quantity.to_value(value.unit), value.data, rtol=1e-6)
        assert other.data.dtype == value.data.dtype.newbyteorder("=")
        for left, right in zip(value.geom.axes, other.geom.axes, strict=True):
            np.testing.assert_array_equal(left.edges, right.edges, err_msg=f"{name}: {left.name}")
            assert (left.name, left.interp, left.unit) == (right.name, right.interp, right.unit)
        if value.geom.is_region:
            assert value.geom.region is other.geom.region is None or (
                value.geom.region.center.separation(other.geom.region.center).deg < 1e-9
            )
            continue
        assert value.geom == other.geom, name
        np.testing.assert_array_equal(value.geom.wcs.wcs.crval, other.geom.wcs.wcs.crval)
        np.testing.assert_array_equal(value.geom.wcs.wcs.crpix, other.geom.wcs.wcs.crpix)
        np.testing.assert_array_equal(value.geom.wcs.wcs.cdelt, other.geom.wcs.wcs.cdelt)
        assert value.geom.frame == other.geom.frame
        np.testing.assert_array_equal(value.geom.pixel_scales, other.geom.pixel_scales)
    for name in ("psf", "edisp"):
        assert type(getattr(a, name)) is type(getattr(b, name))
    assert (a.gti is None) == (b.gti is None)
    if a.gti is not None:
        assert abs((a.gti.time_ref - b.gti.time_ref).to_value("s")) < 1e-9
        for left, right in ((a.gti.time_start, b.gti.time_start), (a.gti.time_stop, b.gti.time_stop)):
            assert len(left) == len(right)
            np.testing.assert_allclose((left - right).to_value("s"), 0, atol=1e-9)
    if a.exposure is not None and "livetime" in a.exposure.meta:
        np.testing.assert_allclose(
            u.Quantity(a.exposure.meta["livetime"]).to_value("s"), b.exposure.meta["livetime"].to_value("s"), rtol=1e-15
        )
    if a.meta_table is not None:
        assert set(b.meta_table.colnames) == set(a.meta_table.colnames)
        for name in a.meta_table.colnames:
            np.testing.assert_array_equal(a.meta_table[name], b.meta_table[name])
            assert a.meta_table[name].unit == b.meta_table[name].unit


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_there_and_back(file: Path) -> None:
    theirs = read(file)
    ours = from_gammapy(theirs)
    back = to_gammapy(ours)
    assert_same(theirs, back)
    assert back.stat_sum() == theirs.stat_sum()
    if hasattr(theirs, "acceptance"):
        bins = theirs.stat_array()[theirs.mask_safe.data]
        meant = bins < 1e300  # where the FFT left off counts next to 0, it has the largest number there is
        assert meant.all() == (file.name != "onoff_stacked_fftnoise.fits.gz")
        assert float(ours.onoff.stat_sum()) == pytest.approx(bins[meant].sum(), rel=1e-9)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_arrays_are_those_of_the_file(file: Path) -> None:
    """The way in memory and the way through FITS give one dataset."""
    ours, read_here = from_gammapy(read(file)), xonoff.open_dataset(file, round_counts_off=False)
    assert set(ours.variables) == set(read_here.variables)
    for name in ours.variables:
        if name.startswith("gti"):
            assert (abs(ours[name] - read_here[name]) <= np.timedelta64(200, "ns")).all()  # FITS has seconds
        elif ours[name].dtype.kind == "f":
            np.testing.assert_allclose(ours[name], read_here[name], rtol=1e-6 if name in ("psf",) else 1e-12)
        elif not str(name).startswith("wcs"):  # their values stand for headers, that of a file has 12 digits
            np.testing.assert_array_equal(ours[name], read_here[name], err_msg=str(name))
    for attr in ("name", "Conventions"):
        assert ours.attrs[attr] == read_here.attrs[attr]


MODELS = [
    SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014)),
    SkyModel("cloud", ExponentialCutoffPowerLaw1D(1e-12, 1, 2, 10), GaussianSource(83.2, 22.3, 0.2), psf=False),
    SkyModel("disk", LogParabola1D(1e-12, 1, 2, 0.1), DiskSource(84, 21.8, 0.3)),
]


def with_models(ds: xr.Dataset) -> xr.Dataset:
    models = [model.copy() for model in MODELS]
    models[0].spectral.x_0.fixed = True
    models[0].spectral.alpha.bounds = (1, 5)
    models[0].spectral.alpha.std = 0.125
    return ds.onoff.assign_models(models)


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
@pytest.mark.parametrize("migra", [False, True])
def test_ours_there_and_back(projection: str, migra: bool) -> None:
    ds = with_models(made.make(3, projection, migra=migra))
    back = from_gammapy(to_gammapy(ds))
    xr.testing.assert_identical(back.drop_attrs(), ds.drop_attrs())
    assert back.attrs["models"] == ds.attrs["models"]


def test_the_tutorial_dataset(ds: xr.Dataset) -> None:
    ds = with_models(ds)
    back = from_gammapy(to_gammapy(ds))
    for name in ds.variables:
        np.testing.assert_array_equal(back[name], ds[name], err_msg=str(name))
        assert back[name].dims == ds[name].dims
        assert back[name].dtype == ds[name].dtype
    assert set(back.variables) == set(ds.variables)
    assert back.attrs["name"] == "tutorial"
    assert back.attrs["models"] == ds.attrs["models"]


def test_models_predict_alike(ds: xr.Dataset) -> None:
    """Its predictions for extended sources hold to some 1e-3 in all."""
    theirs = to_gammapy(with_models(ds))
    assert [model.name for model in theirs.models] == ["crab", "cloud", "disk"]
    assert theirs.models["crab"].parameters["index"].error == 0.125
    ours = float(with_models(ds).onoff.npred_signal().sum())
    assert float(theirs.npred_signal().data.sum()) == pytest.approx(ours, rel=0.02)


@pytest.mark.parametrize("columns", [slice(0, 20), slice(30, 5, -1), slice(1, 40, 3)])
def test_a_part_of_a_map(ds: xr.Dataset, columns: slice) -> None:
    part = ds.isel(lat=slice(5, 35, 2), lon=columns, energy=slice(1, 6))
    theirs = to_gammapy(part)
    assert theirs.stat_sum() == pytest.approx(float(part.onoff.stat_sum()), rel=1e-7)
    coord = theirs.counts.geom.to_image().get_coord()
    lon, lat = part.onoff.geom.sky.lonlat()
    np.testing.assert_allclose(coord.lon.to_value("deg"), lon, atol=1e-10)
    np.testing.assert_allclose(coord.lat.to_value("deg"), lat, atol=1e-10)
    np.testing.assert_array_equal(from_gammapy(theirs).counts, part.counts)


def test_dask_is_computed_and_arrays_in_memory_are_shared(ds: xr.Dataset, lazy: xr.Dataset) -> None:
    np.testing.assert_array_equal(to_gammapy(lazy).counts.data, ds.counts)
    assert np.shares_memory(to_gammapy(ds).counts.data, ds.counts.values)
    theirs = to_gammapy(ds)
    assert np.shares_memory(from_gammapy(theirs).counts.values, theirs.counts.data)


def test_a_rotated_map(ds: xr.Dataset) -> None:
    turn, size = np.radians(30), 0.1
    cards = {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 10.0, "CRVAL2": 2.0, "CRPIX1": 3.0, "CRPIX2": 4.0}
    cards |= {"CD1_1": -size * np.cos(turn), "CD1_2": size * np.sin(turn)}
    cards |= {"CD2_1": size * np.sin(turn), "CD2_2": size * np.cos(turn)}
    sky = xonoff.SkyGrid.from_header(cards, (6, 7))
    geom = xonoff.Geom(sky, (1.0, 2.0, 4.0))
    turned = xr.Dataset({"counts": (geom.dims, np.arange(84.0).reshape(2, 6, 7), {"units": "1"})}, geom.coords())
    theirs = to_gammapy(turned)
    np.testing.assert_allclose(
        theirs.counts.geom.to_image().get_coord().lon.to_value("deg"), sky.lonlat()[0], atol=1e-10
    )
    assert from_gammapy(theirs).onoff.geom.sky.on(sky) is not None


# -- spectra ----------------------------------------------------------------------------------------------------------


def test_spectra(ds: xr.Dataset) -> None:
    spectrum = ds.onoff.to_spectrum(REGION).onoff.assign_models(SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6)))
    theirs = to_gammapy(spectrum)
    assert isinstance(theirs, peer.SpectrumDatasetOnOff)
    assert theirs.counts.geom.region.center.separation(CRAB).deg < 1e-9
    assert theirs.counts.geom.region.radius.to_value("deg") == pytest.approx(0.3, abs=1e-10)
    assert theirs.stat_sum() == pytest.approx(float(spectrum.onoff.stat_sum()), rel=1e-6)
    back = from_gammapy(theirs)
    for name in spectrum.variables:
        if name in ("lon", "lat"):
            np.testing.assert_allclose(back[name], spectrum[name], atol=1e-9)
        else:
            np.testing.assert_array_equal(back[name], spectrum[name], err_msg=str(name))
    assert back.attrs["models"] == spectrum.attrs["models"]
    assert_same(theirs, to_gammapy(back))


def test_spectra_of_gammapy(data_dir: Path) -> None:
    theirs = read(data_dir / "hess-crab" / "onoff_stacked.fits.gz").to_spectrum_dataset(REGION, name="crab")
    ours = from_gammapy(theirs)
    assert ours.counts.dims == ("energy",)
    assert_same(theirs, to_gammapy(ours))
    assert to_gammapy(ours).stat_sum() == theirs.stat_sum()
    assert float(ours.onoff.stat_sum()) == pytest.approx(theirs.stat_sum(), rel=1e-5)


@pytest.mark.parametrize(
    "region",
    [None, CircleAnnulusSkyRegion(CRAB, 0.1 * u.deg, 0.3 * u.deg), REGION | CircleSkyRegion(CRAB, 0.5 * u.deg)],
)
def test_regions_of_spectra(region: Any) -> None:
    energy = maps.MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    true = maps.MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=4, name="energy_true")
    theirs = peer.SpectrumDataset.create(maps.RegionGeom(region, axes=[energy]), energy_axis_true=true, name="empty")
    back = to_gammapy(from_gammapy(theirs))
    assert isinstance(back, peer.SpectrumDataset)
    assert type(back.counts.geom.region) is type(region)
    np.testing.assert_array_equal(back.edisp.edisp_map.data, theirs.edisp.edisp_map.data)


# -- what is odd ------------------------------------------------------------------------------------------------------


def empty(**options: Any) -> Any:
    energy = maps.MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    true = maps.MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=4, name="energy_true")
    geom = maps.WcsGeom.create(skydir=CRAB, width=2, binsz=0.25, axes=[energy])
    return peer.MapDatasetOnOff.create(geom, energy_axis_true=true, name="empty", **options)


def test_a_psf_in_reconstructed_energy_and_a_mask_to_fit() -> None:
    theirs = empty(reco_psf=True)
    theirs.mask_fit = theirs.counts.geom.energy_mask(2 * u.TeV)
    theirs.counts_off = None
    back = to_gammapy(from_gammapy(theirs))
    assert_same(theirs, back)
    assert isinstance(back.psf, irf.RecoPSFMap)
    assert 0 < back.mask_fit.data.sum() < back.mask_fit.data.size
    assert back.counts_off is None


def test_units_and_steps_of_axes() -> None:
    energy = maps.MapAxis.from_edges([300, 500, 900, 2000], unit="GeV", name="energy", interp="lin")
    theirs = peer.MapDataset(counts=maps.WcsNDMap.create(skydir=CRAB, npix=4, axes=[energy]), name="lin")
    ours = from_gammapy(theirs)
    np.testing.assert_allclose(ours.onoff.geom.energy, [0.3, 0.5, 0.9, 2.0], rtol=1e-15)
    back = to_gammapy(ours)
    assert back.counts.geom == theirs.counts.geom
    assert back.counts.geom.axes["energy"].interp == "lin"


def test_metadata() -> None:
    theirs = empty()
    theirs.meta.obs_info = [metadata.ObsInfoMetaData(telescope="hess", obs_id=23523)]
    theirs.meta.pointing = metadata.PointingInfoMetaData(radec_mean=CRAB)
    theirs.meta.optional = {"analysis": "standard", "run": 3}
    meta = to_gammapy(from_gammapy(theirs)).meta
    assert meta.obs_info[0].telescope == "hess"
    assert meta.obs_info[0].obs_id == theirs.meta.obs_info[0].obs_id
    assert meta.pointing.radec_mean.separation(CRAB).deg < 1e-12
    assert meta.optional == theirs.meta.optional


CHANGES = {
    "cutout": lambda d: d.cutout(CRAB, 1 * u.deg, name="a"),
    "cutout wider than the map": lambda d: d.cutout(CRAB, 20 * u.deg, name="a"),
    "downsample": lambda d: d.downsample(5, name="a"),
    "to_image": lambda d: d.to_image(name="a"),
    "to_masked": lambda d: d.to_masked(name="a"),
    "slice_by_energy": lambda d: d.slice_by_energy(1 * u.TeV, 10 * u.TeV, name="a"),
    "to_map_dataset": lambda d: d.to_map_dataset(name="a"),
    "to_region_map_dataset": lambda d: d.to_map_dataset().to_region_map_dataset(REGION, name="a"),
    "pad": lambda d: d.to_map_dataset().pad(3, name="a"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_gammapy_makes_of_datasets(data_dir: Path, change: str) -> None:
    theirs = CHANGES[change](read(data_dir / "hess-crab" / "onoff_stacked.fits.gz"))
    assert_same(theirs, to_gammapy(from_gammapy(theirs)))


def test_another_statistic() -> None:
    theirs = peer.MapDataset(counts=empty().counts, name="gauss", stat_type="chi2")
    assert to_gammapy(from_gammapy(theirs)).stat_type == "chi2"
    assert to_gammapy(from_gammapy(empty())).stat_type == "wstat"


def test_intervals_in_another_time_scale() -> None:
    theirs = empty()
    start = Time(["2020-01-01T20:00:00.123456789", "2020-01-02T20:00"], scale="utc")
    theirs.gti = type(theirs.gti).create(start, start + 1800 * u.s, reference_time=Time("2019-12-31", scale="utc"))
    ours = from_gammapy(theirs)
    assert str(ours.gti_start.values[0]) == "2020-01-01T20:01:09.307456789"  # TT is 69.184 s ahead
    assert_same_times(theirs.gti, to_gammapy(ours).gti)


def assert_same_times(a: Any, b: Any) -> None:
    np.testing.assert_allclose((a.time_start - b.time_start).to_value("s"), 0, atol=2e-9)
    np.testing.assert_allclose((a.time_stop - b.time_stop).to_value("s"), 0, atol=2e-9)


def test_a_dataset_without_intervals_or_response() -> None:
    theirs = peer.MapDataset(counts=empty().counts, name="bare")
    ours = from_gammapy(theirs)
    assert set(ours.data_vars) == {"counts"}
    assert_same(theirs, to_gammapy(ours))


def test_a_response_that_is_the_same_everywhere(ds: xr.Dataset) -> None:
    same = ds.drop_vars([name for name in ds.variables if str(name).endswith(("_psf", "_edisp"))])
    same = same.assign(
        {name: ds[name].variable.isel(lat_psf=0, lon_psf=0) for name in ("psf", "psf_exposure")}
        | {name: ds[name].variable.isel(lat_edisp=0, lon_edisp=0) for name in ("edisp", "edisp_exposure")}
        | {"exposure": ds.exposure.variable.isel(lat=0, lon=0)}
    )
    theirs = to_gammapy(same.onoff.assign_models(MODELS[0]))
    assert theirs.psf.has_single_spatial_bin
    assert theirs.exposure.geom.data_shape == (12, 40, 40)
    expected = float(same.onoff.npred_signal(MODELS[0]).sum())
    assert theirs.npred_signal().data.sum() == pytest.approx(expected, rel=0.01)


# -- refused ----------------------------------------------------------------------------------------------------------


def test_a_mask_of_energies_alone_gets_the_pixels_of_the_counts(ds: xr.Dataset) -> None:
    masked = ds.assign(mask_fit=ds.energy > 1)
    theirs = to_gammapy(masked)
    assert theirs.mask_fit.geom == theirs.counts.geom
    back = from_gammapy(theirs)
    np.testing.assert_array_equal(back.mask_fit, masked.mask_fit.broadcast_like(ds.counts))
    assert theirs.stat_sum() == pytest.approx(float(masked.onoff.stat_sum()), rel=1e-8)


def test_what_gammapy_has_no_place_for(ds: xr.Dataset) -> None:
    with pytest.raises(SchemaError, match=r"mask_fault: gammapy has no place.*drop_vars"):
        to_gammapy(ds.assign(mask_fault=~ds.mask_safe))
    with pytest.raises(SchemaError, match=r"background: a template beside .* drop it"):
        to_gammapy(ds.assign(background=ds.acceptance))
    with pytest.raises(SchemaError, match="counts: units None"):
        to_gammapy(ds.assign(counts=ds.counts.drop_attrs()))
    for text in ("{", "[1]", 3):
        with pytest.raises(SchemaError, match=r"attrs\['gammapy'\]: .*delete it"):
            to_gammapy(ds.assign_attrs(gammapy=text))
    with pytest.raises(SchemaError, match="none of the variables"):
        to_gammapy(xr.Dataset())


def test_what_xonoff_has_no_place_for() -> None:
    with pytest.raises(SchemaError, match="a str found, a MapDataset"):
        from_gammapy("crab.fits")
    theirs = empty()
    theirs.mask_safe = maps.Map.from_geom(theirs.counts.geom, data=np.full(theirs.counts.data.shape, 3))
    with pytest.raises(SchemaError, match="mask_safe: values other than 0 and 1"):
        from_gammapy(theirs)
    theirs = empty()
    theirs.counts_off = maps.Map.from_geom(theirs.counts.geom.cutout(CRAB, 1 * u.deg))
    with pytest.raises(GeometryError, match=r"counts_off: its \(4, 4\) pixels are not the \(8, 8\)"):
        from_gammapy(theirs)
    theirs = empty()
    theirs.acceptance = maps.Map.from_geom(theirs.counts.geom, unit="TeV")
    with pytest.raises(SchemaError, match="acceptance: unit 'TeV' found"):
        from_gammapy(theirs)


def test_models_that_xonoff_has_not(ds: xr.Dataset) -> None:
    theirs = to_gammapy(ds.drop_vars(["counts_off", "acceptance", "acceptance_off"]))
    theirs.models = [modeling.FoVBackgroundModel(dataset_name=theirs.name)]
    with pytest.raises(ModelError, match=r"FoVBackgroundModel.*leave its models out by models=False"):
        from_gammapy(theirs)
    temporal = modeling.SkyModel(modeling.PowerLawSpectralModel(), temporal_model=modeling.ExpDecayTemporalModel())
    theirs.models = [temporal]
    with pytest.raises(ModelError, match=r"temporal.*leave its models out by models=False"):
        from_gammapy(theirs)
    assert "models" not in from_gammapy(theirs, models=False).attrs


def test_files_keep_what_came_of_gammapy(tmp_path: Path) -> None:
    theirs = empty()
    theirs.meta.optional = {"analysis": "standard"}
    ours = from_gammapy(theirs)
    ours.onoff.to_zarr(tmp_path / "a.zarr")
    back = to_gammapy(xonoff.open_dataset(tmp_path / "a.zarr"))
    assert back.meta.optional == {"analysis": "standard"}
    assert_same(theirs, back)
