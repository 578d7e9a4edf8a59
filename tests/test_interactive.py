import builtins
import warnings
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord

import xonoff
from xonoff import quantities
from xonoff.interactive import QUANTITIES, explore

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the packages below hvplot, at their import
    hv = pytest.importorskip("holoviews", reason="needs the extra interactive")


def state(element: Any) -> Any:
    """The bokeh figure of an element."""
    return hv.renderer("bokeh").get_plot(element).state


def shown(frame: Any, name: str) -> np.ndarray:
    """Values of an image from the lowest row on, from the column with the smallest coordinate on."""
    return frame.dimension_values(name, flat=False)


@pytest.mark.parametrize("name", ["counts", "acceptance_off", *QUANTITIES])
def test_each_step_shows_its_energy_bin(ds: xr.Dataset, name: str) -> None:
    explorer = explore(ds, name)
    assert explorer.kdims[0].values == ds["energy"].values.tolist()
    full = QUANTITIES[name](ds) if name in QUANTITIES else ds[name]
    for number in (0, 5):
        frame = explorer[float(ds["energy"][number])]
        expected = full[number].where(ds["mask_safe"][number]).sortby("lon")
        np.testing.assert_array_equal(shown(frame, name), expected)
        np.testing.assert_allclose(shown(frame, "lon")[0], expected["lon"] % 360)
        np.testing.assert_allclose(shown(frame, "lat")[:, 0], expected["lat"])


@pytest.mark.parametrize("turned", [False, True])
def test_longitude_grows_to_the_left(ds: xr.Dataset, turned: bool) -> None:
    part = ds.isel(lon=slice(None, None, -1 if turned else 1))
    figure = state(explore(part, "significance"))
    assert figure.x_range.start > ds["lon"].values.max() > ds["lon"].values.min() > figure.x_range.end
    assert figure.y_range.start < ds["lat"].values.min() < ds["lat"].values.max() < figure.y_range.end
    assert (figure.xaxis[0].axis_label, figure.yaxis[0].axis_label) == ("Right ascension (deg)", "Declination (deg)")
    assert figure.title.text == "significance, 0.5 to 0.889 TeV"
    (mapper,) = [bar.color_mapper for bar in figure.right]
    assert mapper.low == -mapper.high < 0
    (image,) = [r.data_source.data["image"][0] for r in figure.renderers if "image" in r.data_source.data]
    np.testing.assert_array_equal(
        image, ds.onoff.significance()[0].where(ds["mask_safe"][0]).sortby("lon")
    )  # bokeh's first column is that of the smallest coordinate


def cube(**options: Any) -> xr.Dataset:
    geom = xonoff.Geom.create(energy=[1, 2, 4], **options)
    values = np.random.default_rng(0).poisson(5, geom.shape).astype(float)
    return xr.Dataset(dict.fromkeys(quantities.ON_OFF, (geom.dims, values + 1)), geom.coords())


def test_maps_in_other_projections_have_ticks_where_the_angles_are() -> None:
    ds = cube(center=SkyCoord(0.2, 60, unit="deg"), width=5.0, pixel_size=0.1, projection="TAN")
    sky = ds.onoff.geom.sky
    explorer = explore(ds)
    frame = explorer[float(ds["energy"][1])]
    np.testing.assert_array_equal(shown(frame, "counts"), ds["counts"][1])
    figure = state(explorer)
    assert figure.x_range.start == -0.5 < figure.x_range.end
    lons = {float(text): at for at, text in figure.xaxis[0].major_label_overrides.items()}
    lats = {float(text): at for at, text in figure.yaxis[0].major_label_overrides.items()}
    assert len(lons) > 2
    assert 358 in lons
    assert len(lats) > 2
    for angle, at in lons.items():
        turn = sky.pixel_to_sky(at, 0)[0] - angle
        assert (turn + 180) % 360 - 180 == pytest.approx(0, abs=1e-2)
    for angle, at in lats.items():
        assert sky.pixel_to_sky(0, at)[1] == pytest.approx(angle, abs=1e-2)


@pytest.mark.parametrize(
    "options",
    [
        {"center": (0, 0), "width": (360, 180), "pixel_size": 6.0, "projection": "AIT", "frame": "galactic"},
        {"center": (10, 89.5), "width": 4.0, "pixel_size": 0.1, "projection": "TAN"},
        {"center": (0, 40), "width": 4.0, "pixel_size": 0.1, "projection": "MER"},
    ],
)
def test_maps_of_the_whole_sky_of_a_pole_and_with_uneven_rows(options: dict) -> None:
    ds = cube(**options)
    explorer = explore(ds, "excess")
    frame = explorer[float(ds["energy"][0])]
    expected = ds.onoff.excess[0].values.copy()
    expected[np.isnan(ds.onoff.geom.sky.lonlat()[1])] = np.nan
    np.testing.assert_array_equal(shown(frame, "excess"), expected)
    assert state(explorer).title.text == "excess, 1 to 2 TeV"


def test_a_step_computes_its_bin_alone(ds: xr.Dataset) -> None:
    seen: list[int] = []

    def block(values: np.ndarray, block_info: Any = None) -> np.ndarray:
        seen.append(block_info[0]["chunk-location"][0])
        return values

    chunked = ds["counts"].chunk({"energy": 1, "lat": -1, "lon": -1})
    watched = da.map_blocks(block, chunked.data, dtype=chunked.dtype, meta=np.empty((0, 0, 0)))
    lazy = ds.chunk({"energy": 1}).assign(counts=(ds["counts"].dims, watched))
    seen.clear()
    for name in ("counts", "significance"):
        explorer = explore(lazy, name)
        assert seen == []
        frame = explorer[float(ds["energy"][4])]
        assert seen == [4]
        assert np.isfinite(shown(frame, name)).any()
        seen.clear()


def test_a_bin_outside_the_masks_and_a_map_of_one_energy(ds: xr.Dataset) -> None:
    masked = ds.assign(mask_safe=ds["mask_safe"] & (ds["energy"] > 1))
    figure = state(explore(masked))
    assert figure.title.text == "counts, 0.5 to 0.889 TeV: all masked"
    one = explore(ds.isel(energy=3), "excess")
    assert isinstance(one, hv.Image)
    np.testing.assert_array_equal(shown(one, "excess"), ds.onoff.excess[3].where(ds["mask_safe"][3]).sortby("lon"))


def test_options_are_those_of_an_image(ds: xr.Dataset) -> None:
    frame = ds.onoff.plot.interactive("counts", cmap="magma", logz=True)[float(ds["energy"][0])]
    found = frame.opts.get("plot").kwargs | frame.opts.get("style").kwargs
    assert (found["cmap"], found["logz"]) == ("magma", True)
    assert found["clim"][0] == 1
    assert found["clim"][1] == ds["counts"][0].where(ds["mask_safe"][0]).max()


def test_a_logarithmic_scale_of_an_excess_is_above_0(ds: xr.Dataset) -> None:
    frame = explore(ds, "excess", logz=True)[float(ds["energy"][0])]
    low, high = (frame.opts.get("plot").kwargs | frame.opts.get("style").kwargs)["clim"]
    assert 0 < low < high


def test_what_is_refused(ds: xr.Dataset) -> None:
    with pytest.raises(xonoff.SchemaError, match=r"name .exposure. found, one of .*significance"):
        explore(ds, "exposure")
    with pytest.raises(xonoff.GeometryError, match="a spectrum found, a map over two sky dimensions accepted"):
        explore(quantities.on_off_sums(ds, ("lat", "lon")))
    with pytest.raises(xonoff.GeometryError, match="energy: no bin found"):
        explore(ds.isel(energy=slice(0, 0)))
    with pytest.raises(xonoff.GeometryError, match=r"a map of \(1, 40\) pixels found"):
        explore(ds.isel(lat=[3]))


def test_without_holoviews_the_error_names_the_extra(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("holoviews"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "xonoff\[interactive\]"'):
        ds.onoff.plot.interactive()
