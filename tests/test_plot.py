import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

import xonoff
from xonoff import quantities


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
