import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from matplotlib import pyplot as plt
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord

import xonoff
from xonoff import quantities
from xonoff.residuals import METHODS, residuals, spectral_residuals


@pytest.fixture(autouse=True)
def _figures() -> object:
    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("name", ["counts", "excess", "significance"])
def test_maps(ds: xr.Dataset, name: str) -> None:
    ax = getattr(ds.onoff.plot, name)()
    (image,) = ax.get_images()
    shown = np.ma.filled(image.get_array(), np.nan)
    sums = quantities.on_off_sums(ds, "energy")
    expected = {
        "counts": sums.counts.where(ds.mask_safe.any("energy")),
        "excess": sums.onoff.excess,
        "significance": sums.onoff.significance(),
    }[name]
    np.testing.assert_array_equal(shown, expected)
    # The axes know the sky: the brightest pixel of the significance map is the source.
    lon, lat = ax.wcs.wcs_pix2world(19.5, 19.5, 0)
    np.testing.assert_allclose([float(lon), float(lat)], xonoff.tutorial.SOURCE, atol=1e-9)
    labels = [axes.get_ylabel() for axes in ax.figure.axes]
    assert any(name in label for label in labels)
    if name != "counts":
        vmin, vmax = image.get_clim()
        assert vmin == -vmax


def test_axes_are_taken_and_returned(ds: xr.Dataset) -> None:
    figure = plt.figure()
    ax = figure.add_subplot(projection=ds.onoff.wcs)
    assert ds.onoff.plot.counts(ax=ax, cmap="magma") is ax
    assert ax.get_images()[0].get_cmap().name == "magma"
    ax = figure.add_subplot()
    assert ds.onoff.plot.spectrum(ax=ax) is ax


def test_peek(ds: xr.Dataset) -> None:
    figure = ds.onoff.peek()
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["counts", "excess counts", "significance", "spectrum of the whole map"]
    figure.canvas.draw()


def test_dask_selections_reversed_and_galactic(lazy: xr.Dataset) -> None:
    figure = lazy.isel(lat=slice(None, None, -2), lon=slice(5, 30)).onoff.peek()
    figure.canvas.draw()
    geom = xonoff.Geom.create(
        (359.9, 0.1), width=1.0, pixel_size=0.1, projection="TAN", frame="galactic", energy=[1, 2]
    )
    cube = xr.Dataset({n: (geom.dims, np.ones(geom.shape), {"units": "1"}) for n in quantities.ON_OFF}, geom.coords())
    figure = cube.onoff.peek()
    figure.canvas.draw()
    assert "Galactic longitude" in figure.axes[0].get_xlabel()


def test_nothing_to_see(ds: xr.Dataset) -> None:
    empty = ds.assign(mask_safe=xr.zeros_like(ds.mask_safe))
    empty.onoff.peek().canvas.draw()


def test_a_spectrum_has_no_map(ds: xr.Dataset) -> None:
    sums = quantities.on_off_sums(ds, ("lat", "lon"))
    assert len(sums.onoff.peek().axes) == 1
    with pytest.raises(xonoff.GeometryError, match="two sky dimensions"):
        sums.onoff.plot.excess()


# -- residuals --------------------------------------------------------------------------------------------------------

REGION = CircleSkyRegion(SkyCoord(*xonoff.tutorial.SOURCE, unit="deg"), 0.35 * u.deg)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("smooth", ["0.1 deg", None])
def test_residuals_on_a_map(ds: xr.Dataset, method: str, smooth: str | None) -> None:
    ax = ds.onoff.plot_residuals(method, smooth)
    (image,) = ax.get_images()
    np.testing.assert_array_equal(
        np.ma.filled(image.get_array(), np.nan), residuals(ds, method, smooth=smooth, dim="energy")
    )
    low, high = image.get_clim()
    assert low == -high
    assert len(ax.figure.axes) == 2  # with the colour bar
    assert ax.get_title() == ("residuals" if smooth is None else "residuals, smoothed")
    assert ax.figure.axes[1].get_ylabel() == METHODS[method].replace("sqrt(model)", "√model")
    ax.figure.canvas.draw()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("region", [REGION, CirclePixelRegion(PixCoord(19.5, 19.5), 3.5)])
def test_residuals_of_a_region(ds: xr.Dataset, method: str, region: object) -> None:
    on_map, on_spectrum = ds.onoff.plot_residuals(method, region=region)
    assert on_map.figure is on_spectrum.figure
    points = spectral_residuals(ds, region, method)
    (drawn,) = on_spectrum.containers
    np.testing.assert_array_equal(drawn[0].get_xdata(), ds.energy)
    np.testing.assert_array_equal(drawn[0].get_ydata(), points.residuals)
    bars = drawn[2][1].get_segments()  # up and down
    np.testing.assert_allclose([bar[1, 1] - bar[0, 1] for bar in bars], 2 * points.error)
    assert on_spectrum.get_xscale() == "log"
    assert any((np.asarray(line.get_ydata()) == 0).all() for line in on_spectrum.lines)
    on_map.figure.canvas.draw()


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_the_outline_is_where_the_region_ends_on_the_sky(projection: str) -> None:
    center = SkyCoord(83.6, 60.0, unit="deg")
    geom = xonoff.Geom.create(center, width=(8.0, 3.0), pixel_size=0.1, projection=projection, energy=[1, 2])
    ones = {n: (geom.dims, np.ones(geom.shape), {"units": "1"}) for n in quantities.ON_OFF}
    ds = xr.Dataset(ones, geom.coords())
    ax, _ = ds.onoff.plot_residuals(region=CircleSkyRegion(center, 0.8 * u.deg))
    limits = ax.get_xlim(), ax.get_ylim()
    (contour,) = [artist for artist in ax.collections if hasattr(artist, "levels")]
    x, y = np.concatenate([path.vertices for path in contour.get_paths()]).T
    lon, lat = geom.sky.pixel_to_sky(x, y)
    distance = SkyCoord(lon, lat, unit="deg").separation(center).deg
    np.testing.assert_allclose(distance, 0.8, atol=0.03)
    assert limits == ((-0.5, geom.shape[2] - 0.5), (-0.5, geom.shape[1] - 0.5))


def test_residuals_of_a_spectrum_and_of_a_whole_map(ds: xr.Dataset) -> None:
    spectrum = ds.onoff.to_spectrum(REGION)
    ax = spectrum.onoff.plot_residuals()
    assert ax.get_title() == "residuals"
    np.testing.assert_array_equal(ax.containers[0][0].get_ydata(), residuals(spectrum))
    ax = xonoff.plot.residual_spectrum(ds)
    assert ax.get_title() == "residuals of the whole map"
    with pytest.raises(xonoff.GeometryError, match="a spectrum is that of one region"):
        spectrum.onoff.plot_residuals(region=REGION)


def test_residuals_take_axes_models_and_dask(ds: xr.Dataset, lazy: xr.Dataset) -> None:
    from xonoff.models import PointSource, PowerLaw1D, SkyModel

    crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(*xonoff.tutorial.SOURCE))
    figure = plt.figure()
    on_map, on_spectrum = figure.add_subplot(121, projection=ds.onoff.wcs), figure.add_subplot(122)
    drawn = lazy.onoff.plot_residuals(
        region=REGION, models=crab, ax=on_map, ax_spectrum=on_spectrum, cmap="PuOr", vmin=-9, vmax=9
    )
    assert drawn == (on_map, on_spectrum)
    (image,) = on_map.get_images()
    assert (image.get_cmap().name, image.get_clim()) == ("PuOr", (-9, 9))
    np.testing.assert_allclose(
        np.ma.filled(image.get_array(), np.nan), residuals(ds, models=crab, smooth=0.1, dim="energy"), atol=1e-6
    )


def test_residuals_where_there_is_nothing(ds: xr.Dataset) -> None:
    empty = ds.assign(mask_safe=xr.zeros_like(ds.mask_safe))
    empty.onoff.plot_residuals("diff/model", region=REGION)[0].figure.canvas.draw()
    with pytest.raises(xonoff.SchemaError, match="method 'sigma' found"):
        ds.onoff.plot_residuals("sigma")
    with pytest.raises(xonoff.GeometryError, match="reaches off the map"):
        ds.onoff.plot_residuals(region=CirclePixelRegion(PixCoord(0, 0), 5))
