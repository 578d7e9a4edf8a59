"""FITS as the data model sees it: round trips, laziness, and files that are no on/off datasets though they are FITS."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from killing import Forker, kill_writer

import xonoff
from xonoff.axes import axis_coords
from xonoff.skygrid import SkyGrid


@pytest.fixture
def file(ds: xr.Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "crab.fits"
    ds.onoff.to_fits(path)
    return path


def comparable(ds: xr.Dataset) -> xr.Dataset:
    """Without what FITS does not hold: descriptions of variables."""
    ds = ds.load().copy()
    for array in ds.variables.values():
        for key in ("long_name", "rounded", "dropped"):
            array.attrs.pop(key, None)
    return ds


def test_round_trip_is_exact(ds: xr.Dataset, file: Path) -> None:
    again = xonoff.open_dataset(file, checksum=True)
    xr.testing.assert_identical(comparable(again), comparable(ds))
    for name, array in ds.variables.items():
        assert again[name].dtype == array.dtype, name
    xonoff.validate(again)


@pytest.mark.parametrize("suffix", [".fits", ".nc", ".zarr"])
@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_every_format_and_the_engine(ds: xr.Dataset, tmp_path: Path, suffix: str, projection: str) -> None:
    if projection == "TAN":
        ds = reproject_labels(ds, "TAN")
    path = tmp_path / f"out{suffix}"
    writer = {".fits": "to_fits", ".nc": "to_netcdf", ".zarr": "to_zarr"}[suffix]
    getattr(ds.onoff, writer)(path)
    again = xonoff.open_dataset(path)
    assert again.onoff.geom == ds.onoff.geom
    xr.testing.assert_identical(comparable(again), comparable(ds))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        getattr(ds.onoff, writer)(path)
    getattr(ds.onoff, writer)(path, overwrite=True)


def reproject_labels(ds: xr.Dataset, projection: str) -> xr.Dataset:
    """The same numbers on another grid: enough for I/O."""
    geom = xonoff.Geom.create(
        xonoff.tutorial.SOURCE, width=4.0, pixel_size=0.1, projection=projection, energy=ds.onoff.geom.energy
    )
    coarse = SkyGrid.create(xonoff.tutorial.SOURCE, shape=(4, 4), pixel_size=1.0, projection=projection)
    names = {f"{old}{s}": f"{new}{s}" for s in ("", "_psf", "_edisp") for old, new in (("lat", "y"), ("lon", "x"))}
    bare = ds.drop_vars([n for n in ds.coords if str(n).split("_")[0] in ("lat", "lon", "x", "y", "wcs")])
    return bare.rename_dims(names).assign_coords({**geom.coords(), **coarse.coords("psf"), **coarse.coords("edisp")})


def test_the_engine_of_xarray(ds: xr.Dataset, file: Path, tmp_path: Path) -> None:
    assert "xonoff" in xr.backends.list_engines()
    for kwargs in ({"engine": "xonoff"}, {}):  # named, and guessed
        with xr.open_dataset(file, **kwargs) as opened:
            np.testing.assert_array_equal(opened.counts, ds.counts)
    opened = xr.open_dataset(file, engine="xonoff", drop_variables=["psf"])
    assert "psf" not in opened
    other = tmp_path / "other.fits"
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(other)
    with pytest.raises(ValueError, match="did not find a match"):
        xr.open_dataset(other)


def test_opening_is_lazy(file: Path, no_compute: None) -> None:
    opened = xonoff.open_dataset(file, chunks={})
    assert all(array.chunks is not None for array in opened.data_vars.values())
    excess = opened.onoff.excess
    with pytest.raises(AssertionError, match="computed"):
        excess.compute()
    assert opened.onoff.geom.shape == (8, 40, 40)
    assert "not computed" in opened.onoff._repr_html_()


@pytest.mark.parametrize("scheduler", ["threads", "synchronous", "processes"])
def test_dask_reads_the_right_chunks(ds: xr.Dataset, file: Path, scheduler: str) -> None:
    opened = xonoff.open_dataset(file, chunks={"energy": 3, "lat": 13})
    with dask.config.set(scheduler=scheduler, num_workers=2):
        np.testing.assert_array_equal(opened.onoff.excess.compute(), ds.onoff.excess)


def test_pickling(ds: xr.Dataset, file: Path) -> None:
    for opened in (xonoff.open_dataset(file), xonoff.open_dataset(file, chunks={})):
        again = pickle.loads(pickle.dumps(opened))
        np.testing.assert_array_equal(again.psf, ds.psf)


def test_a_large_file_opens_at_once(tmp_path: Path) -> None:
    # A sparse file of 10 GB: headers with nothing behind them on the disk.
    geom = xonoff.Geom.create((0, 0), width=80.0, pixel_size=0.02, projection="TAN", energy=np.geomspace(0.1, 100, 151))
    path = tmp_path / "large.fits"
    small = xr.Dataset(
        {"counts": (geom.dims, np.broadcast_to(np.float32(0), geom.shape), {"units": "1"})}, geom.coords()
    )
    write_sparse(small, path)
    assert path.stat().st_size > 9.5e9
    import tracemalloc

    tracemalloc.start()
    opened = xonoff.open_dataset(path, chunks={})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert opened.counts.shape == (150, 4000, 4000)
    assert float(opened.counts[75, 2000, 2000]) == 0


def write_sparse(ds: xr.Dataset, path: Path) -> None:
    """A FITS file whose pixels are a hole: headers from a one-bin file, sizes patched."""
    little = ds.isel(energy=slice(0, 150), y=slice(0, 1), x=slice(0, 1))
    seed = path.with_suffix(".seed")
    little.onoff.to_fits(seed)
    with fits.open(seed) as hdus, open(path, "wb") as out:
        for hdu in hdus:
            header = hdu.header.copy()
            for card in ("CHECKSUM", "DATASUM"):
                header.remove(card, ignore_missing=True)
            if hdu.name == "COUNTS":
                header["NAXIS1"], header["NAXIS2"] = 4000, 4000
                out.write(header.tostring().encode())
                out.seek(-(-150 * 4000 * 4000 * 4 // 2880) * 2880, 1)
            else:
                out.write(header.tostring().encode())
                data = hdu.data.tobytes() if hdu.data is not None else b""
                out.write(data + b"\0" * (-len(data) % 2880))


@pytest.mark.parametrize("compression", ["gzip", "GZIP_2", "RICE_1"])
def test_compressed_files(ds: xr.Dataset, file: Path, tmp_path: Path, compression: str) -> None:
    import gzip

    if compression == "gzip":
        path = tmp_path / "crab.fits.gz"
        path.write_bytes(gzip.compress(file.read_bytes()))
    else:
        path = tmp_path / "tiles.fits"
        with fits.open(file) as hdus:
            out = fits.HDUList([hdus[0].copy()])
            for hdu in hdus[1:]:
                if isinstance(hdu, fits.ImageHDU) and (compression == "GZIP_2" or hdu.data.dtype.kind in "ui"):
                    out.append(fits.CompImageHDU(hdu.data, hdu.header, compression_type=compression, quantize_level=0))
                else:
                    out.append(hdu.copy())
            out.writeto(path)
    opened = xonoff.open_dataset(path)
    np.testing.assert_array_equal(opened.counts, ds.counts)
    np.testing.assert_array_equal(opened.mask_safe, ds.mask_safe)
    np.testing.assert_array_equal(opened.psf.isel(rad=3), ds.psf.isel(rad=3))
    assert float(opened.onoff.stat_sum()) == float(ds.onoff.stat_sum())


def test_migra_and_reco_psf(ds: xr.Dataset, tmp_path: Path) -> None:
    migra = axis_coords("migra", np.linspace(0.2, 5, 49))
    density = np.ones((12, 48, 4, 4), np.float32) / 4.8
    ds = ds.drop_vars(["edisp", "psf", "psf_exposure"]).assign_coords(migra)
    ds["edisp"] = (("energy_true", "migra", "lat_edisp", "lon_edisp"), density, {"units": "1"})
    ds["psf"] = (("energy", "rad", "lat_psf", "lon_psf"), np.ones((8, 40, 4, 4), np.float32), {"units": "sr-1"})
    ds["psf_exposure"] = (("energy", "lat_psf", "lon_psf"), np.ones((8, 4, 4), np.float32), {"units": "m2 s"})
    ds.onoff.to_fits(tmp_path / "out.fits")
    xr.testing.assert_identical(comparable(xonoff.open_dataset(tmp_path / "out.fits")), comparable(ds))


@pytest.mark.parametrize(
    "select",
    [
        {"energy": slice(0, 1)},
        {"lat": slice(3, 4), "lon": slice(7, 8)},
        {"lat": slice(None, None, 2), "lon": slice(30, 3, -3)},
        {"gti": slice(0, 0), "obs": slice(0, 1)},
    ],
    ids=str,
)
def test_selections(ds: xr.Dataset, tmp_path: Path, select: dict[str, slice]) -> None:
    part = ds.isel(select)
    part.onoff.to_fits(tmp_path / "out.fits")
    again = xonoff.open_dataset(tmp_path / "out.fits")
    np.testing.assert_array_equal(again.counts, part.counts)
    # The labels start anew on the grid of what was written; the sky is the same.
    np.testing.assert_allclose(again.lat, part.lat, atol=1e-10)
    np.testing.assert_allclose(again.lon, part.lon, atol=1e-10)
    assert again.onoff.geom.energy == part.onoff.geom.energy


def test_a_response_without_a_sky_is_one_wide_pixel(ds: xr.Dataset, tmp_path: Path) -> None:
    same = ds.copy()
    for name in ("psf", "edisp"):
        sky = {f"lat_{name}": 0, f"lon_{name}": 0}
        same[name], same[f"{name}_exposure"] = ds[name].isel(sky), ds[f"{name}_exposure"].isel(sky)
    assert xonoff.schema.faults(same) == []
    same.onoff.to_fits(tmp_path / "out.fits")
    again = xonoff.open_dataset(tmp_path / "out.fits")
    assert again.psf.shape == (12, 40, 1, 1)
    np.testing.assert_array_equal(again.psf[..., 0, 0], same.psf)
    np.testing.assert_array_equal(again.edisp[..., 0, 0], same.edisp)
    sky = xonoff.geometry.sky_grid(again, "psf")
    assert sky.contains((85.0, 21.0))
    np.testing.assert_allclose(sky.center, xonoff.tutorial.SOURCE, atol=1e-9)


def test_one_pixel_and_a_strip(ds: xr.Dataset, tmp_path: Path) -> None:
    part = ds.isel(lat=20, lon=7)
    part.onoff.to_fits(tmp_path / "out.fits")
    again = xonoff.open_dataset(tmp_path / "out.fits")
    np.testing.assert_array_equal(again.counts.values.ravel(), part.counts.values.ravel())
    np.testing.assert_allclose([again.lat[0], again.lon[0]], [part.lat, part.lon], atol=1e-10)
    with pytest.raises(xonoff.SchemaError, match=r"counts: dims \('energy', 'lon'\) found"):
        ds.isel(lat=20).onoff.to_fits(tmp_path / "strip.fits")


def test_a_spectrum_is_no_map(ds: xr.Dataset, tmp_path: Path) -> None:
    spectrum = xonoff.quantities.on_off_sums(ds, ("lat", "lon"))
    with pytest.raises(xonoff.SchemaError, match=r"write a spectrum with ds\.onoff\.to_ogip"):
        spectrum.onoff.to_fits(tmp_path / "out.fits")


def test_dtypes_survive(ds: xr.Dataset, tmp_path: Path) -> None:
    for dtype in (np.int16, np.int32, np.int64, np.uint8, np.float32, np.float64):
        part = ds.assign(counts=ds.counts.astype(dtype))
        part.onoff.to_fits(tmp_path / "out.fits", overwrite=True)
        again = xonoff.open_dataset(tmp_path / "out.fits")
        assert again.counts.dtype == dtype
        np.testing.assert_array_equal(again.counts, part.counts)


def test_a_dask_dataset_is_written_in_parts(lazy: xr.Dataset, ds: xr.Dataset, tmp_path: Path) -> None:
    lazy.onoff.to_fits(tmp_path / "out.fits")
    xr.testing.assert_identical(comparable(xonoff.open_dataset(tmp_path / "out.fits")), comparable(ds))


def test_a_failed_write_leaves_the_old_file(ds: xr.Dataset, file: Path) -> None:
    import dask.array as da

    def broken(block: np.ndarray) -> np.ndarray:
        raise RuntimeError("no disk")

    bad = ds.assign(
        counts_off=(
            ds.counts_off.dims,
            da.from_array(ds.counts_off.values).map_blocks(broken, dtype="f4", meta=np.empty((0, 0, 0), "f4")),
            {"units": "1"},
        )
    )
    before = file.read_bytes()
    with pytest.raises(RuntimeError, match="no disk"):
        bad.onoff.to_fits(file, overwrite=True)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_an_invalid_dataset_is_not_written(ds: xr.Dataset, tmp_path: Path) -> None:
    ds["exposure"].attrs["units"] = "cm2 s"
    with pytest.raises(xonoff.SchemaError, match="exposure: units 'cm2 s' found"):
        ds.onoff.to_fits(tmp_path / "out.fits")
    assert list(tmp_path.iterdir()) == []


# -- faults of structure: refused when the file is opened -----------------------------------------------------------


def _set(hdu: str, card: str, value: Any) -> Callable[[fits.HDUList], None]:
    def change(hdus: fits.HDUList) -> None:
        if card.startswith("TUNIT"):
            hdus[hdu].columns[int(card[5:]) - 1].unit = value
        elif card.startswith("TTYPE"):
            hdus[hdu].columns[int(card[5:]) - 1].name = value
        else:
            hdus[hdu].header[card] = value

    return change


def _drop(hdu: str, card: str) -> Callable[[fits.HDUList], None]:
    def change(hdus: fits.HDUList) -> None:
        if card.startswith("TUNIT"):
            hdus[hdu].columns[int(card[5:]) - 1].unit = None
        hdus[hdu].header.remove(card, ignore_missing=True)

    return change


def _remove(*names: str) -> Callable[[fits.HDUList], None]:
    def change(hdus: fits.HDUList) -> None:
        for name in names:
            del hdus[name]

    return change


def _column(hdu: str, column: str, change: Callable[[np.ndarray], Any]) -> Callable[[fits.HDUList], None]:
    def apply(hdus: fits.HDUList) -> None:
        hdus[hdu].data[column] = change(hdus[hdu].data[column].copy())

    return apply


def _crop(hdu: str, *key: Any) -> Callable[[fits.HDUList], None]:
    def change(hdus: fits.HDUList) -> None:
        hdus[hdu].data = hdus[hdu].data[key]

    return change


def _rows(hdu: str, rows: slice) -> Callable[[fits.HDUList], None]:
    def change(hdus: fits.HDUList) -> None:
        hdus[hdu].data = hdus[hdu].data[rows]

    return change


def _twice(hdus: fits.HDUList) -> None:
    hdus.append(hdus["COUNTS"].copy())


def _table_for_image(hdus: fits.HDUList) -> None:
    table = hdus["COUNTS_BANDS"].copy()
    table.name = "COUNTS"
    hdus[hdus.index_of("COUNTS")] = table


FAULTY: dict[str, tuple[Callable[[fits.HDUList], None], str]] = {
    "no maps at all": (
        _remove("COUNTS", "COUNTS_OFF", "ACCEPTANCE", "ACCEPTANCE_OFF"),
        "no HDU COUNTS, COUNTS_OFF, ACCEPTANCE",
    ),
    "no bands table": (_remove("COUNTS_OFF_BANDS"), "HDU COUNTS_OFF: card BANDSHDU = 'COUNTS_OFF_BANDS'"),
    "no BANDSHDU": (_drop("EXPOSURE", "BANDSHDU"), "HDU EXPOSURE: card BANDSHDU is missing"),
    "no AXCOLS": (_drop("COUNTS", "AXCOLS1"), "HDU COUNTS: card AXCOLS1 is missing"),
    "unknown AXCOLS": (_set("COUNTS", "AXCOLS1", "TIME_MIN,TIME_MAX"), "card AXCOLS1 = 'TIME_MIN,TIME_MAX'"),
    "missing column": (_set("COUNTS", "AXCOLS1", "ENERGY_MIN,ENERGY_MAX"), "column ENERGY_MIN is missing"),
    "twice": (_twice, "HDU COUNTS is there twice"),
    "a table for an image": (_table_for_image, "HDU COUNTS: a table found"),
    "other pixels": (_crop("COUNTS_OFF", slice(None), slice(0, 39)), "HDU COUNTS_OFF: its"),
    "other energies": (_crop("ACCEPTANCE", slice(0, 7)), "HDU ACCEPTANCE: shape"),
    "fewer dimensions": (_crop("COUNTS", 0), "HDU COUNTS: shape"),
    "other edges": (_column("COUNTS_OFF_BANDS", "E_MIN", lambda e: e * 1.01), "do not adjoin|axis energy with edges"),
    "shifted edges": (
        lambda hdus: [_column("COUNTS_OFF_BANDS", c, lambda e: e * 1.01)(hdus) for c in ("E_MIN", "E_MAX")],
        "HDU COUNTS_OFF: axis energy with edges",
    ),
    "falling edges": (
        lambda hdus: [_column("COUNTS_BANDS", c, lambda e: e[::-1])(hdus) for c in ("E_MIN", "E_MAX")],
        "HDU COUNTS_BANDS: the bins of axis energy do not adjoin",
    ),
    "negative edges": (
        lambda hdus: [_column("COUNTS_BANDS", c, lambda e: e - 1)(hdus) for c in ("E_MIN", "E_MAX")],
        "edges of axis energy have to be positive",
    ),
    "NaN edges": (_column("COUNTS_BANDS", "E_MAX", lambda e: e * np.nan), "HDU COUNTS_BANDS"),
    "too few bands": (_rows("COUNTS_BANDS", slice(0, 5)), "HDU COUNTS: shape"),
    "too many bands": (_rows("PSF_BANDS", slice(0, 470)), "HDU PSF"),
    "wrong unit of edges": (_set("COUNTS_BANDS", "TUNIT3", "m"), "column E_MIN: unit 'm' found"),
    "nonsense unit of edges": (_set("COUNTS_BANDS", "TUNIT3", "Tev!"), "column E_MIN: unit 'Tev!' found"),
    "no unit of edges": (_drop("COUNTS_BANDS", "TUNIT3"), "column E_MIN has no unit"),
    "unknown unit of the exposure": (_set("EXPOSURE", "BUNIT", "furlong"), "HDU EXPOSURE: card BUNIT"),
    "wrong unit of the exposure": (_set("EXPOSURE", "BUNIT", "m2"), "unit 'm2' found"),
    "no unit of the exposure": (_drop("EXPOSURE", "BUNIT"), "HDU EXPOSURE: card BUNIT is missing"),
    "counts in metres": (_set("COUNTS", "BUNIT", "m"), "HDU COUNTS: card BUNIT = 'm' found"),
    "mixed CTYPE": (_set("COUNTS", "CTYPE2", "DEC--SIN"), "HDU COUNTS: .*CTYPE"),
    "mixed frames": (_set("COUNTS", "CTYPE2", "GLAT-CAR"), "HDU COUNTS: .*CTYPE"),
    "no celestial CTYPE": (_set("COUNTS", "CTYPE1", "FREQ"), "HDU COUNTS: .*CTYPE"),
    "unknown projection": (_set("COUNTS", "CTYPE1", "RA---XYZ"), "HDU COUNTS: .*CTYPE"),
    "no CRVAL": (_drop("COUNTS", "CRVAL1"), "HDU COUNTS: card CRVAL1 is missing"),
    "text for CRPIX": (_set("COUNTS", "CRPIX1", "middle"), "HDU COUNTS: card CRPIX1 = 'middle'"),
    "no pixel size": (_set("COUNTS", "CDELT1", 0.0), "HDU COUNTS: "),
    "another sky": (_set("COUNTS_OFF", "CRVAL1", 84.0), "HDU COUNTS_OFF: its"),
    "a shifted sky": (_set("COUNTS_OFF", "CRPIX1", 21.5), "HDU COUNTS_OFF: its"),
    "another frame": (
        lambda hdus: hdus["COUNTS_OFF"].header.update(CTYPE1="GLON-CAR", CTYPE2="GLAT-CAR"),
        "HDU COUNTS_OFF: its",
    ),
    "GTI without STOP": (_set("GTI", "TTYPE2", "END"), "HDU GTI: columns START and STOP"),
    "GTI of an unknown clock": (_set("GTI", "TIMESYS", "sundial"), "HDU GTI"),
    "GTI that is NaN": (_column("GTI", "START", lambda t: t * np.nan), "HDU GTI: .*not finite"),
    "GTI without reference": (lambda hdus: [_drop("GTI", c)(hdus) for c in ("MJDREFI", "MJDREFF")], "HDU GTI"),
    "META that is no JSON": (_set("EXPOSURE", "META", "{livetime"), "HDU EXPOSURE: card META"),
    "livetime in metres": (_set("EXPOSURE", "META", '{"livetime": "3 m"}'), "HDU EXPOSURE: card META"),
    "META of nested brackets": (_set("EXPOSURE", "META", "[" * 20000), "HDU EXPOSURE: card META"),
    "a livetime below 0": (_set("EXPOSURE", "META", '{"livetime": "-3 s"}'), "HDU EXPOSURE: card META"),
    "two livetimes": (_set("EXPOSURE", "META", '{"livetime": "[1, 2] s"}'), "HDU EXPOSURE: card META"),
    "a negative unit": (_set("EXPOSURE", "BUNIT", "-1 m2 s"), "HDU EXPOSURE: card BUNIT"),
    "an axis without bins": (_rows("COUNTS_BANDS", slice(0, 0)), "HDU COUNTS_BANDS: no bins"),
    "a GTI in the far future": (_column("GTI", "STOP", lambda t: t * 1e15), "HDU GTI: .*300 years"),
    "a response on another axis": (_set("PSF", "AXCOLS1", "MIGRA_MIN,MIGRA_MAX"), "HDU PSF"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_faults_of_structure(case: str, file: Path, tmp_path: Path) -> None:
    change, message = FAULTY[case]
    bad = tmp_path / "bad.fits"
    with fits.open(file) as hdus:
        copies = fits.HDUList([hdu.copy() for hdu in hdus])
        change(copies)
        copies.writeto(bad, output_verify="ignore")
    with pytest.raises(xonoff.FormatError, match=message) as raised:
        xonoff.open_dataset(bad)
    assert "bad.fits" in str(raised.value)


# -- faults of value: open, are counted, and never enter a sum -------------------------------------------------------

VALUES: dict[str, tuple[Callable[[fits.HDUList], None], str]] = {
    "NaN counts": (lambda hdus: hdus["COUNTS"].data.__setitem__((2, 20, 20), np.nan), "not_finite"),
    "infinite off counts": (lambda hdus: hdus["COUNTS_OFF"].data.__setitem__((2, 20, 20), np.inf), "not_finite"),
    "negative counts": (lambda hdus: hdus["COUNTS"].data.__setitem__((2, 20, 20), -3), "negative"),
    "negative off counts": (lambda hdus: hdus["COUNTS_OFF"].data.__setitem__((2, 20, 20), -1), "negative"),
    "NaN acceptance": (lambda hdus: hdus["ACCEPTANCE"].data.__setitem__((2, 20, 20), np.nan), "not_finite"),
    "no off exposure": (lambda hdus: hdus["ACCEPTANCE_OFF"].data.__setitem__((2, 20, 20), 0), "no_off_exposure"),
    "a mask of 7": (lambda hdus: hdus["MASK_SAFE"].data.__setitem__((2, 20, 20), 7), "mask_fault"),
}


@pytest.mark.parametrize("chunks", [None, {}], ids=["numpy", "dask"])
@pytest.mark.parametrize("case", VALUES)
def test_faults_of_value(case: str, chunks: Any, ds: xr.Dataset, file: Path) -> None:
    change, reason = VALUES[case]
    with fits.open(file, mode="update", memmap=False) as hdus:
        change(hdus)
    opened = xonoff.open_dataset(file, chunks=chunks)
    totals = opened.onoff.info().compute()
    assert int(totals.invalid.sel(reason=reason)) == 1
    assert int(totals.invalid.sum()) == 1
    assert int(totals.n_bins_valid) == int(ds.mask_safe.sum()) - 1
    without = ds.assign(mask_safe=ds.mask_safe.copy(deep=True))
    without.mask_safe[2, 20, 20] = False
    np.testing.assert_allclose(opened.onoff.stat_sum(), without.onoff.stat_sum(), rtol=1e-13)
    np.testing.assert_allclose(totals.excess, without.onoff.info().excess, rtol=1e-12)
    with pytest.raises(xonoff.SchemaError, match=f"1 bins: .*{reason}"):
        xonoff.validate(opened)


def test_the_mask_of_a_large_file_is_not_read_when_it_is_opened(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xonoff.io.fits, "CHECKED_MASK_BYTES", 10)
    with fits.open(file, mode="update", memmap=False) as hdus:
        hdus["MASK_SAFE"].data[0, 0, 0] = 7
    opened = xonoff.open_dataset(file, chunks={})
    assert opened.mask_fault.chunks is not None
    assert int(opened.mask_fault.sum()) == 1
    assert int(opened.onoff.info().invalid.sel(reason="mask_fault")) == 1


def test_mask_faults_survive_fits(ds: xr.Dataset, file: Path, tmp_path: Path) -> None:
    with fits.open(file, mode="update", memmap=False) as hdus:
        hdus["MASK_SAFE"].data[2, 20, 20] = 7
    xonoff.open_dataset(file).onoff.to_fits(tmp_path / "again.fits")
    again = xonoff.open_dataset(tmp_path / "again.fits")
    assert int(again.onoff.info().invalid.sel(reason="mask_fault")) == 1


def test_meta_table_of_others(ds: xr.Dataset, file: Path, tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("OBS_ID", "2K", array=[[1, 2]]),
            fits.Column("LIVETIME", "2D", unit="h", array=[[0.5, 0.25]]),
            fits.Column("TELESCOP", "4A", array=["HESS"]),
            fits.Column("DATE-OBS", "2D", array=[[1.0, 2.0]]),
            fits.Column("WCS_PSF", "2D", array=[[1.0, 2.0]]),
            fits.Column("ENERGY_BOUNDS", "3D", array=[[1.0, 2.0, 3.0]]),
        ],
        name="META_TABLE",
    )
    with fits.open(file) as hdus:
        out = fits.HDUList([hdu.copy() for hdu in hdus if hdu.name != "META_TABLE"] + [table])
        out.writeto(tmp_path / "meta.fits")
    opened = xonoff.open_dataset(tmp_path / "meta.fits", chunks="auto")
    assert float(opened.onoff.livetime) == 2700.0
    assert opened.telescop.values.tolist() == ["HESS"]
    assert opened.date_obs.dims == ("obs",)
    assert opened.meta_energy_bounds.size == 3
    assert xonoff.schema.faults(opened) == []
    opened.onoff.to_zarr(tmp_path / "meta.zarr")
    np.testing.assert_array_equal(xonoff.open_dataset(tmp_path / "meta.zarr", chunks="auto").counts, ds.counts)


def test_kev_and_nodes(ds: xr.Dataset, file: Path, tmp_path: Path) -> None:
    with fits.open(file) as hdus:
        out = fits.HDUList([hdu.copy() for hdu in hdus])
    for name in ("E_MIN", "E_MAX"):
        out["COUNTS_BANDS"].data[name] *= 1e9
        out["COUNTS_BANDS"].columns[name].unit = "keV"
    out["EXPOSURE"].data *= 1e4
    out["EXPOSURE"].header["BUNIT"] = "cm2 s"
    out["EXPOSURE"].header["AXCOLS1"] = "ENERGY_TRUE"  # differential: one column of nodes
    out.writeto(tmp_path / "kev.fits")
    opened = xonoff.open_dataset(tmp_path / "kev.fits")
    np.testing.assert_allclose(opened.onoff.geom.energy, ds.onoff.geom.energy, rtol=1e-12)
    np.testing.assert_allclose(opened.exposure, ds.exposure, rtol=1e-6)
    np.testing.assert_allclose(opened.energy_true_bounds, ds.energy_true_bounds, rtol=1e-9)
    assert opened.exposure.attrs["units"] == "m2 s"


# -- killed writers -------------------------------------------------------------------------------------------------


def write_version(path: str, version: str) -> None:
    """Write in a child that may be killed."""
    ds = xonoff.tutorial.dataset()
    ds["counts"] = xr.full_like(ds.counts, float(version))
    ds.onoff.to_fits(path, overwrite=True)


def test_killed_writers_leave_the_old_file_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "crab.fits"
    current, killed = 0, 0
    with Forker("test_fits") as forker:
        for version, was_killed in kill_writer(forker, "write_version", path, range(31)):
            killed += was_killed
            opened = xonoff.open_dataset(path, checksum=True).load()
            (found,) = np.unique(opened.counts)
            assert found in (current, version)
            assert was_killed or found == version
            current = int(found)
    assert killed > 0
    write_version(str(path), "99")  # clears what the killed writers left
    assert [p.name for p in tmp_path.iterdir()] == ["crab.fits"]


@pytest.mark.parametrize("chunks", [{}, "auto", {"lat": 20}])
def test_coordinates_along_one_dimension_stay_out_of_dask(ds, tmp_path, chunks):
    ds.onoff.to_fits(tmp_path / "a.fits")
    lazy = xonoff.open_dataset(tmp_path / "a.fits", chunks=chunks)
    assert [name for name in lazy.coords if lazy[name].chunks and lazy[name].ndim < 2] == []
    assert lazy.counts.chunks
    assert lazy.chunks
    xr.testing.assert_identical(lazy.load(), xonoff.open_dataset(tmp_path / "a.fits").load())
