"""Plot of a spectrum: what is drawn where, limits as arrows, several on one plot, what is refused."""

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

import xonoff
from xonoff import plot_spectrum
from xonoff.models import PowerLaw1D, SkyModel
from xonoff.sed_columns import labelled


@pytest.fixture(autouse=True)
def _figures() -> object:
    mpl.use("Agg")
    yield
    plt.close("all")


def points(**changed: list[float]) -> xr.Dataset:
    """Four points: one as it should be, a limit, one that is negative and has a limit, and one that is nothing."""
    arrays = {
        "e2dnde": [4e-12, 1e-12, -1e-12, np.nan],
        "e2dnde_errn": [1e-12, 1e-12, 1e-12, np.nan],
        "e2dnde_errp": [2e-12, 1e-12, 1e-12, np.nan],
        "e2dnde_ul": [8e-12, 3e-12, 5e-13, np.nan],
        "is_ul": [False, True, False, True],
    } | changed
    coords = xonoff.axes.axis_coords("energy", [0.5, 1, 2, 4, 8])
    return labelled({name: np.array(values) for name, values in arrays.items()}, coords, {"source": "crab"})


def band() -> xr.Dataset:
    matrix = xr.DataArray([[1e-24]], {"parameter": ["crab.amplitude"]}, ("parameter", "other"))
    model = SkyModel("crab", PowerLaw1D(3e-12, 1, 2.1))
    return xonoff.spectrum_band(model, "crab", np.geomspace(0.4, 9, 20), covariance=matrix)


def test_points_and_limits():
    ax = plot_spectrum(points())
    shown, limits = ax.containers
    np.testing.assert_array_equal(shown.lines[0].get_ydata(), [4e-12])
    assert shown.get_label() == "crab"
    vertical = shown.lines[2][1].get_segments()[0][:, 1]
    np.testing.assert_allclose(vertical, [3e-12, 6e-12])
    horizontal = shown.lines[2][0].get_segments()[0][:, 0]
    np.testing.assert_allclose(horizontal, [0.5, 1.0])
    np.testing.assert_array_equal(limits.lines[0].get_ydata(), [3e-12, 5e-13])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlabel() == "Energy (TeV)"
    assert ax.get_ylabel() == "$E^2\\,dN/dE$ (TeV cm$^{-2}$ s$^{-1}$)"
    low, high = ax.get_ylim()
    assert 0 < low < 5e-13
    assert high > 6e-12
    ax.figure.canvas.draw()


def test_what_has_no_limit_is_a_point():
    ax = plot_spectrum(points(e2dnde_ul=[np.nan] * 4))
    [shown] = ax.containers
    np.testing.assert_array_equal(shown.lines[0].get_ydata(), [4e-12, 1e-12])


def test_symmetric_errors_stand_in():
    ds = points().drop_vars(["e2dnde_errn", "e2dnde_errp", "is_ul"]).assign(e2dnde_err=("energy", [5e-13] * 4))
    shown = plot_spectrum(ds).containers[0]
    np.testing.assert_allclose(shown.lines[2][1].get_segments()[0][:, 1], [3.5e-12, 4.5e-12])
    bare = points().drop_vars(["e2dnde_errn", "e2dnde_errp"])
    plot_spectrum(bare.drop_vars("energy_bounds")).figure.canvas.draw()


def test_the_band_has_the_colour_of_the_points():
    ax = plot_spectrum(points(), band(), color="red", marker="s")
    assert ax.lines[0].get_color() == "red"
    np.testing.assert_allclose(ax.lines[0].get_ydata(), band().e2dnde)
    assert ax.containers[0].lines[0].get_color() == "red"
    assert ax.containers[0].lines[0].get_marker() == "s"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["crab"]
    [filled] = ax.collections[:1]
    top = filled.get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(float((band().e2dnde + band().e2dnde_err).max()))


def test_several_on_one_plot():
    ax = plot_spectrum(points(), label="one")
    low, high = ax.get_ylim()
    again = plot_spectrum(points(e2dnde=[4e-10, 1e-12, -1e-12, np.nan]), ax=ax, label="two")
    assert again is ax
    assert ax.get_ylim()[0] == low
    assert ax.get_ylim()[1] > high
    colours = {container.lines[0].get_color() for container in ax.containers}
    assert len(colours) == 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "two"]


def test_a_band_alone_and_other_quantities():
    ax = plot_spectrum(band=band(), quantity="dnde")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), band().dnde)
    assert ax.get_ylabel() == "$dN/dE$ (cm$^{-2}$ s$^{-1}$ TeV$^{-1}$)"
    wide = band().assign(e2dnde_err=10 * band().e2dnde)
    ax = plot_spectrum(band=wide)
    assert ax.get_ylim()[0] > 0
    ax.figure.canvas.draw()


def test_nothing_but_nan_is_an_empty_plot():
    nothing = points(**{name: [np.nan] * 4 for name in ("e2dnde", "e2dnde_errn", "e2dnde_errp", "e2dnde_ul")})
    plot_spectrum(nothing).figure.canvas.draw()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_spectrum(), "nothing to draw"),
        (lambda: plot_spectrum(points(), quantity="norm"), "quantity 'norm' found"),
        (lambda: plot_spectrum(points(), quantity="flux"), "points: no flux found, e2dnde: give quantity='e2dnde'"),
        (lambda: plot_spectrum(band=band(), quantity="eflux"), "band: no eflux found, dnde, e2dnde"),
        (lambda: plot_spectrum(xr.Dataset()), "points: no e2dnde found, no flux at all"),
    ],
)
def test_what_is_refused(call, message):
    before = plt.get_fignums()
    with pytest.raises(xonoff.SchemaError, match=message):
        call()
    assert plt.get_fignums() == before
