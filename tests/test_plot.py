import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from matplotlib import pyplot as plt
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord, Regions

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


def cube(center: tuple[float, float], **options: object) -> xr.Dataset:
    geom = xonoff.Geom.create(center, energy=[1, 2, 4], **options)
    ones = {n: (geom.dims, np.ones(geom.shape), {"units": "1"}) for n in quantities.ON_OFF}
    return xr.Dataset(ones, geom.coords())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"width": (360, 180), "pixel_size": 4.0, "projection": "AIT"}, {"60°", "300°", "-30°", "0°"}),
        ({"width": 4.0, "pixel_size": 0.1, "projection": "TAN"}, {"0°", "90°", "315°", "89.5°", "88.5°"}),
    ],
)
def test_maps_of_the_whole_sky_and_of_a_pole_have_labels_within(options: dict, expected: set[str]) -> None:
    ds = cube((10, 89.5) if options["projection"] == "TAN" else (0, 0), **options)
    ax = ds.onoff.plot.counts()
    ax.figure.canvas.draw()
    texts = [text for text in ax.texts if text.get_text().endswith("°")]
    assert {text.get_text() for text in texts} >= expected
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert not cube((0, 0), width=4.0, pixel_size=0.1, projection="TAN").onoff.plot.counts().texts


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (CirclePixelRegion(PixCoord(0, 0), 5), "reaches off the map"),
        ([REGION, REGION], r"2 regions found, one accepted: join them with \|"),
        (Regions([REGION]), r"1 regions found, one accepted: join them with \|"),
        ("circle", "a str found, a sky or pixel region"),
    ],
)
def test_a_region_is_refused_before_a_figure_is_made(ds: xr.Dataset, region: object, message: str) -> None:
    with pytest.raises(xonoff.XonoffError, match=message):
        ds.onoff.plot_residuals(region=region)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("given", "limits"),
    [({"vmax": 5}, (-5, 5)), ({"vmin": -3}, (-3, 3)), ({"vmin": -1, "vmax": 4}, (-1, 4)), ({"vmax": None}, None)],
)
def test_one_end_of_a_symmetric_scale_stands_for_both(ds: xr.Dataset, given: dict, limits: tuple | None) -> None:
    for ax in (ds.onoff.plot_residuals(**given), ds.onoff.plot.excess(**given)):
        low, high = ax.get_images()[0].get_clim()
        assert low == -high if limits is None else (low, high) == limits


def test_a_scale_that_begins_at_0_or_above_has_one_side(ds: xr.Dataset) -> None:
    found = [ds.onoff.plot.excess(vmin=low).get_images()[0] for low in (0, 2.0, -2.0)]
    assert [image.get_clim()[0] for image in found] == [0, 2, -2]
    assert found[0].get_clim()[1] == found[1].get_clim()[1] > 20
    assert [image.get_cmap().name for image in found] == ["viridis", "viridis", "RdBu_r"]


def test_a_dataset_of_one_energy_has_a_spectrum_too(ds: xr.Dataset) -> None:
    one, same = (part.onoff.peek().axes[-1] for part in (ds.isel(energy=3), ds.isel(energy=[3])))
    for a, b in zip(one.containers, same.containers, strict=True):
        np.testing.assert_allclose(a[0].get_xydata(), b[0].get_xydata(), rtol=1e-6)


def test_labels_of_less_than_a_decade_of_energy_are_plain_numbers(ds: xr.Dataset) -> None:
    few = ds.isel(energy=slice(2, 4))
    few_in_region = few.onoff.to_spectrum(REGION)
    for ax in (few.onoff.plot.spectrum(), few_in_region.onoff.plot.residuals()):
        ax.figure.canvas.draw()
        texts = [text.get_text() for text in ax.get_xticklabels(which="both") if text.get_text()]
        assert 2 <= len(texts) <= 7
        assert all(float(text) > 0 for text in texts)
        low, high = ax.get_xlim()
        edges = few.onoff.geom.energy
        assert low < edges[0] < edges[-1] < high


def test_a_map_of_negative_values_has_them_on_its_scale(ds: xr.Dataset) -> None:
    low, high = xonoff.sky_map(-ds.counts.sum("energy"), "minus").get_images()[0].get_clim()
    assert low < -10
    assert high == 0


def test_what_is_no_map_is_refused_before_a_figure_is_made(ds: xr.Dataset) -> None:
    with pytest.raises(xonoff.GeometryError, match=r"array: dimensions \('energy', 'lat', 'lon'\) found"):
        xonoff.sky_map(ds.counts, "counts")
    for other in (ds, ds.counts[0].values):
        with pytest.raises(xonoff.SchemaError, match=r"array: a .* found, a DataArray accepted"):
            xonoff.sky_map(other, "counts")  # type: ignore[arg-type]
    assert not plt.get_fignums()


def test_maps_of_one_energy(ds: xr.Dataset) -> None:
    one = ds.isel(energy=3)
    for name in ("counts", "excess", "significance", "residuals"):
        ax, expected = (getattr(part.onoff.plot, name)() for part in (one, ds.isel(energy=[3])))
        shown, same = (np.ma.filled(a.get_images()[0].get_array(), np.nan) for a in (ax, expected))
        np.testing.assert_allclose(shown, same, rtol=1e-6)
    with pytest.raises(xonoff.GeometryError, match="region: a map of one energy found"):
        one.onoff.plot_residuals(region=REGION)


def test_a_spectrum_takes_no_arguments_of_a_map(ds: xr.Dataset) -> None:
    with pytest.raises(xonoff.SchemaError, match="cmap found, arguments of the map of residuals, none accepted"):
        ds.onoff.to_spectrum(REGION).onoff.plot_residuals(cmap="magma")


def test_residuals_where_there_is_nothing(ds: xr.Dataset) -> None:
    empty = ds.assign(mask_safe=xr.zeros_like(ds.mask_safe))
    empty.onoff.plot_residuals("diff/model", region=REGION)[0].figure.canvas.draw()
    with pytest.raises(xonoff.SchemaError, match="method 'sigma' found"):
        ds.onoff.plot_residuals("sigma")
    with pytest.raises(xonoff.GeometryError, match="reaches off the map"):
        ds.onoff.plot_residuals(region=CirclePixelRegion(PixCoord(0, 0), 5))


# -- grids, options, style --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"projection": "CAR"}, {"projection": "TAN"}, {"frame": "galactic"}])
@pytest.mark.parametrize("grid", ["icrs", "fk5", "galactic", True])
def test_a_grid_in_any_frame_on_any_map(options: dict, grid: str | bool) -> None:
    ds = cube((83.6, 20.0), width=4.0, pixel_size=0.1, **options)
    own = ds.onoff.geom.sky.frame
    ax = ds.onoff.plot.counts(grid=grid)
    ax.figure.canvas.draw()
    overlays = [coords for coords in ax._all_coords if coords is not ax.coords]
    if grid in (True, own):
        assert not overlays
        assert all(axis._grid_lines_kwargs["visible"] for axis in ax.coords)
        return
    (over,) = overlays
    assert [axis.get_axislabel_position() for axis in over] == [["t"], ["r"]]
    names = [axis.get_axislabel() for axis in over]
    assert names == ["Galactic longitude", "Galactic latitude"] or names == ["Right ascension", "Declination"]
    assert (names[0] == "Galactic longitude") == (grid == "galactic")
    marks = over[0]._ticks  # those of longitude, at the top of the map
    assert len(marks.world["t"]) >= 2
    for pixel, angle in zip(marks.pixel["t"], marks.world["t"], strict=True):
        lon, lat = ds.onoff.geom.sky.pixel_to_sky(*pixel)
        found = SkyCoord(lon, lat, unit="deg", frame=own).transform_to(grid).spherical.lon.deg
        assert (found - angle + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("dec", [60, 80, -80, 20])
@pytest.mark.parametrize("grid", [None, "icrs", "galactic"])
def test_longitude_is_named_below_the_map_however_far_north(dec: float, grid: str | None) -> None:
    ax = cube((0.1, dec), width=(6.0, 4.0), pixel_size=0.1, projection="TAN").onoff.plot.counts(grid=grid)
    ax.figure.canvas.draw()
    assert [axis.get_axislabel() for axis in ax.coords] == ["Right ascension (ICRS)", "Declination"]
    assert [axis.get_ticklabel_position() for axis in ax.coords] == [["b"], ["l"]]
    assert ax.coords[0]._ticks.world["b"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Right ascension (ICRS)", "Declination")


def test_axes_of_a_turned_map_and_of_pixels(ds: xr.Dataset) -> None:
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [83, 22], [20, 20]
    wcs.wcs.cd = [[0, 0.1], [0.1, 0]]
    sky = xonoff.interop.from_wcs(wcs, (40, 40))
    ax = xonoff.sky_map(xr.DataArray(np.ones((40, 40)), sky.coords(), sky.dims()), "one", grid=True)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Declination", "Right ascension (ICRS)")
    ax = ds.onoff.plot.counts(ax=plt.figure().add_subplot())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (pixels)", "y (pixels)")


def test_grids_of_the_whole_sky_and_around_poles() -> None:
    whole = cube((0, 0), width=(360, 180), pixel_size=4.0, projection="AIT", frame="galactic")
    ax = whole.onoff.plot.counts(grid="icrs")
    assert ax.get_xlabel() == "Right ascension (ICRS)"
    sky = whole.onoff.geom.sky
    marks = {
        text.get_text(): SkyCoord(*sky.pixel_to_sky(*text.get_position()), unit="deg", frame="galactic")
        for text in ax.texts
    }
    assert abs(marks["120°"].icrs.ra.deg - 120) < 1e-6
    assert abs(marks["120°"].icrs.dec.deg) < 1e-6
    pole = cube((192.86, 27.13), width=4.0, pixel_size=0.1, projection="TAN")
    ax = pole.onoff.plot.counts(grid="galactic")
    assert ax.get_xlabel() == "Right ascension (ICRS)"
    assert {"89°", "88.5°", "0°", "180°"} <= {text.get_text() for text in ax.texts}
    north = cube((10, 89.5), width=4.0, pixel_size=0.1, projection="TAN")
    ax = north.onoff.plot.counts(grid="galactic")
    assert [coords[0].get_axislabel() for coords in ax._all_coords[1:]] == ["Galactic longitude"]
    for drawn in (ax, pole.onoff.plot.excess(grid=True)):
        drawn.figure.canvas.draw()


def test_a_grid_needs_axes_of_the_sky(ds: xr.Dataset) -> None:
    with pytest.raises(xonoff.GeometryError, match="grid: axes without WCS found"):
        ds.onoff.plot.counts(ax=plt.figure().add_subplot(), grid=True)


def test_what_is_off_the_sky_is_white_and_what_is_masked_grey() -> None:
    whole = cube((0, 0), width=(360, 180), pixel_size=4.0, projection="AIT")
    ax = whole.assign(mask_safe=whole.counts > 9).onoff.plot.counts()
    figure = ax.figure
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3]
    ny, nx = whole.onoff.geom.sky.shape
    for (x, y), colour in (((2, 2), (255, 255, 255)), ((nx / 2 - 8.2, ny / 2 - 4.3), (211, 211, 211))):
        column, row = (round(float(p)) for p in ax.transData.transform((x, y)))
        assert tuple(pixels[row, column]) == colour
    assert not cube((0, 0), width=4.0, pixel_size=0.1, projection="TAN").onoff.plot.counts().collections


def test_options_reach_every_map(ds: xr.Dataset) -> None:
    from xonoff.models import PointSource, PowerLaw1D, SkyModel

    crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(*xonoff.tutorial.SOURCE))
    carried = ds.onoff.assign_models(crab)
    options = {"sources": True, "regions": REGION, "scale_bar": "0.5 deg", "psf": True, "grid": "galactic"}
    maps = [getattr(carried.onoff.plot, name)(**options) for name in ("counts", "excess", "significance")]
    maps += [carried.onoff.plot.residuals(**options), carried.onoff.plot.residuals(region=REGION, **options)[0]]
    maps += carried.onoff.plot.peek(**options).axes[:1]
    for ax in maps:
        assert {"crab", "0.5 deg", "PSF 68 %"} <= {text.get_text() for text in ax.texts}
        ax.figure.canvas.draw()
    assert "crab" not in {text.get_text() for text in ds.onoff.plot.counts(sources=True).texts}
    assert "crab" in {text.get_text() for text in ds.onoff.plot.counts(sources=crab).texts}


def test_spectra_take_the_style_of_errorbar(ds: xr.Dataset) -> None:
    ax = ds.onoff.plot.spectrum(color="tab:red", capsize=3, linestyle="-")
    series = [container[0] for container in ax.containers]
    assert [container.get_label() for container in ax.containers] == ["counts", "background", "excess"]
    assert {line.get_color() for line in series} == {"tab:red"}
    assert {line.get_linestyle() for line in series} == {"-"}
    np.testing.assert_array_equal(series[0].get_ydata(), ds.counts.where(ds.mask_safe, 0).sum(("lat", "lon")))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "Energy (TeV)")
    (points,) = xonoff.plot.residual_spectrum(ds, marker="s", color="tab:blue").containers
    assert (points[0].get_marker(), points[0].get_color()) == ("s", "tab:blue")
    (points,) = ds.onoff.to_spectrum(REGION).onoff.plot_residuals(color="tab:green").containers
    assert points[0].get_color() == "tab:green"


def test_the_colour_of_overlays_stands_out(ds: xr.Dataset) -> None:
    for name, colour in (("counts", "white"), ("significance", "black")):
        ax = getattr(ds.onoff.plot, name)(scale_bar="0.5 deg")
        (bar,) = ax.lines
        assert bar.get_color() == colour
        assert bar.get_path_effects()
