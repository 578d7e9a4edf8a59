import time
import tracemalloc

import numpy as np
import pytest
import xarray as xr
from datasets import EDGES, make, parent

import xonoff
from xonoff.create import ResponseGeom, copy, create, from_geoms, from_map_dataset, to_map_dataset

TRUE = np.geomspace(0.5, 40, 9)


def geom(projection: str = "TAN", frame: str = "icrs", center: tuple[float, float] = (83.6, 22.0)) -> xonoff.Geom:
    return xonoff.Geom.create(
        center, width=(2.0, 1.5), pixel_size=0.05, projection=projection, frame=frame, energy=EDGES
    )


@pytest.mark.parametrize("projection", ["CAR", "TAN", "AIT"])
@pytest.mark.parametrize("center", [(83.6, 22.0), (0.0, -70.0)])
@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_an_empty_dataset(projection, center, frame):
    ds = create(geom(projection, frame, center), energy_true=TRUE, name="new")
    xonoff.validate(ds)
    assert ds.onoff.name == "new"
    assert ds.counts.dtype == np.float32
    for name in ("counts", "counts_off", "acceptance", "acceptance_off", "exposure", "psf", "mask_safe"):
        assert not ds[name].any()
    assert ds.sizes["rad"] == 66
    assert ds.sizes["gti"] == 0
    irf = xonoff.geometry.sky_grid(ds, "psf")
    ny, nx = ds.counts.shape[1:]
    corners = np.array([[-0.5, -0.5, nx - 0.5, nx - 0.5], [-0.5, ny - 0.5, -0.5, ny - 0.5]])
    x, y = irf.sky_to_pixel(tuple(ds.onoff.geom.sky.pixel_to_sky(*corners)))
    assert x.min() >= -0.5 - 1e-6
    assert x.max() <= irf.shape[1] - 0.5 + 1e-6
    assert y.min() >= -0.5 - 1e-6
    assert y.max() <= irf.shape[0] - 0.5 + 1e-6
    assert irf.pixel_scales == pytest.approx((0.2, 0.2))
    assert irf.projection == projection


def test_the_dispersion_is_a_perfect_one():
    ds = create(geom(), energy_true=[0.5, 1.5, 4, 20])
    kernel = ds.edisp[:, :, 0, 0].values
    np.testing.assert_allclose(kernel, [[0.5, 0, 0, 0], [0.2, 0.8, 0, 0], [0, 0, 0.25, 0.5]], rtol=1e-6)
    ds = create(geom(), energy_true=TRUE, migra=np.linspace(0.2, 2.0, 10))
    density = ds.edisp[0, :, 0, 0]
    assert float(density.values.sum() * 0.2) == pytest.approx(1)
    assert int((density.values > 0).argmax()) == 4


def test_stacking_runs_onto_an_empty_dataset():
    runs = [make(1), make(2)]
    grid = xonoff.Geom(parent("TAN"), tuple(EDGES))
    empty = create(
        grid,
        energy_true=runs[0].energy_true_bounds.values[[0, 0, 1, 2, 3, 4], [0, 1, 1, 1, 1, 1]],
        rad=np.linspace(0, 0.5, 6),
    )
    sky = xonoff.geometry.sky_grid(runs[0], "psf")
    empty = from_geoms(grid, ResponseGeom(grid.sky, {"energy_true": [0.5, 1.5, 3, 6, 12, 24]}),
                       ResponseGeom(sky, {"energy_true": [0.5, 1.5, 3, 6, 12, 24], "rad": np.linspace(0, 0.5, 6)}),
                       ResponseGeom(sky, {"energy_true": [0.5, 1.5, 3, 6, 12, 24]}))  # fmt: skip
    total, plain = xonoff.stack([empty, *runs]), xonoff.stack(runs)
    for name in plain.data_vars:
        if name != "mask_fit":
            np.testing.assert_allclose(total[name], plain[name], rtol=1e-12)


def test_a_hundred_gigabytes_cost_nothing(no_compute):
    edges = xonoff.energy_edges(0.1, 100, n=24)
    wide = xonoff.Geom.create((0, 0), width=(360, 10), pixel_size=0.02, energy=edges, frame="galactic")
    create(geom(), energy_true=TRUE, chunks={})
    tracemalloc.start()
    start = time.process_time()
    ds = create(wide, energy_true=xonoff.energy_edges(0.05, 200, n=48), chunks={"energy": -1, "energy_true": -1})
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(array.nbytes for array in ds.data_vars.values()) > 5e9
    assert peak < 5e7
    assert seconds < 60
    tan = xonoff.Geom.create((83, 22), width=100, pixel_size=0.01, projection="TAN", energy=edges)
    huge = create(tan, energy_true=TRUE, chunks={})
    assert sum(array.nbytes for array in huge.data_vars.values()) > 4e10
    assert huge.lat.chunks is not None


def test_a_spectrum():
    ds = create(xonoff.Geom(None, tuple(EDGES)), energy_true=TRUE)
    assert ds.counts.dims == ("energy",)
    assert ds.edisp.dims == ("energy_true", "energy")
    assert "psf" not in ds
    xonoff.validate(ds)


def test_responses_on_grids_of_their_own():
    coarse = xonoff.SkyGrid.create((83.6, 22.0), shape=(3, 4), pixel_size=0.5)
    response = ResponseGeom(coarse, {"energy_true": TRUE})
    ds = from_geoms(geom(), response, None, ResponseGeom(None, {"energy_true": TRUE, "migra": [0.5, 1, 2]}))
    assert ds.exposure.dims == ("energy_true", "lat_exposure", "lon_exposure")
    assert ds.edisp.dims == ("energy_true", "migra")
    assert "psf" not in ds
    xonoff.validate(ds)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_geoms(parent("TAN")), "geom: a SkyGrid found, a Geom accepted"),
        (lambda: from_geoms(geom(), ResponseGeom(None, {"rad": [0, 1]})), r"exposure: axes \['rad'\] found"),
        (lambda: from_geoms(geom(), ResponseGeom(None, {"energy_true": [1, 2]}), None,
                            ResponseGeom(None, {"energy_true": [1, 3]})),
         r"edisp: energy_true with edges \[1. 3.\] found, \[1. 2.\] elsewhere"),
        (lambda: create(geom(), energy_true=[2, 1]), "strictly increasing edges"),
        (lambda: create(geom(), energy_true="1 deg"), "a number in TeV"),
        (lambda: create(geom(), energy_true=TRUE, irf_pixel_size=0), "irf_pixel_size: a positive angle"),
        (lambda: create(geom(), energy_true=TRUE, reference_time="x"), "reference_time: 'x' found"),
        (lambda: from_geoms(xonoff.Geom(None, (1.0, 2.0)), ResponseGeom(parent("TAN"), {"energy_true": [1, 2]})),
         "exposure: a sky grid found, but the counts have none"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call()


# -- from a map dataset and back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_dask", [False, True])
def test_to_a_map_dataset_and_back(on_dask, no_compute):
    import dask

    ds = make(1)
    given = ds.chunk({"energy": 2}) if on_dask else ds
    back = from_map_dataset(to_map_dataset(given), given.acceptance, given.acceptance_off)
    assert (back.counts_off.chunks is not None) == on_dask
    with dask.config.set(scheduler="synchronous"):
        for name in ("counts", "counts_off", "acceptance", "acceptance_off", "mask_safe", "exposure"):
            np.testing.assert_allclose(back[name], ds[name], rtol=1e-12)
    assert "background" not in back
    assert back.onoff.name == ds.onoff.name


def test_scalars_and_given_off_counts():
    ds = to_map_dataset(make(1))
    out = from_map_dataset(ds, 1, 5.0, counts_off=np.arange(48).reshape(6, 8))
    assert (out.onoff.alpha == 0.2).all()
    np.testing.assert_array_equal(out.counts_off[0, 3], np.arange(24, 32))
    none = ds.assign(background=ds.background * 0)
    assert (from_map_dataset(none, none.counts * 0, 5.0).counts_off == 0).all()
    some = ds.assign(background=ds.background * 0 + 1)
    assert np.isnan(from_map_dataset(some, some.counts * 0, 5.0).counts_off).all()
    xonoff.validate(out)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: from_map_dataset(ds.drop_vars("background"), 1, 1), "neither off counts nor a background found"),
        (lambda ds: from_map_dataset(ds.drop_vars("counts"), 1, 1), "no counts"),
        (lambda ds: from_map_dataset(ds, np.ones(3), 1), "acceptance: float64 of shape"),
        (lambda ds: from_map_dataset(ds, np.ones((1, 1, 1, 1)), 1), "acceptance: float64 of shape"),
        (lambda ds: from_map_dataset(ds, "1", 1), "acceptance: <U1 of shape"),
        (lambda ds: from_map_dataset(ds, make(1, "CAR").acceptance, 1), "sky grids"),
        (lambda ds: from_map_dataset(ds, make(1).acceptance.isel(y=slice(0, 6), x=slice(None, None, -1)), 1), "pixels"),
    ],
)
def test_what_makes_no_on_off_dataset(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(to_map_dataset(make(1)))


def test_a_copy_shares_nothing():
    ds = make(1)
    new = copy(ds)
    xr.testing.assert_identical(new, ds)
    new["counts"][0, 0, 0] = 99
    assert int(ds.counts[0, 0, 0]) != 99
    assert copy(ds, "b").onoff.name == "b"
    assert ds.onoff.name == "run 1"


def test_an_array_with_other_energies_is_refused():
    ds = xonoff.tutorial.dataset().onoff.to_map_dataset()
    shifted = xonoff.tutorial.dataset().acceptance.isel(energy=slice(2, 5))
    with pytest.raises(xonoff.GeometryError, match="acceptance: its energy is"):
        xonoff.from_map_dataset(ds.isel(energy=slice(0, 3)), shifted, 10.0)
    bare = xonoff.tutorial.dataset().acceptance.drop_vars("wcs").assign_coords(lat=ds.lat + 1)
    with pytest.raises(xonoff.GeometryError, match="acceptance: its lat is"):
        xonoff.from_map_dataset(ds, bare, 10.0)
    sky = xonoff.from_map_dataset(ds, np.ones(ds.counts.shape[1:]), 10.0)
    assert (sky.acceptance == 1).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: xonoff.from_map_dataset(5, 1, 1), "has no counts"),
        (lambda ds: xonoff.from_map_dataset(ds, 0, 10.0), "acceptance: 0 found, a positive number"),
        (lambda ds: xonoff.from_map_dataset(ds, 1, np.nan), "acceptance_off: nan found"),
        (lambda ds: xonoff.from_map_dataset(ds, np.ones(40), 10.0), "acceptance: float64 of shape .* found"),
        (lambda ds: ds.onoff.copy(5), "name: 5 found, text accepted"),
        (lambda ds: create(geom(), energy_true=TRUE, name=5), "name: 5 found, text accepted"),
        (lambda ds: create(geom(), energy_true=TRUE, chunks={"enrgy": 1}), "dimension 'enrgy' found"),
        (lambda ds: create(geom(), energy_true=TRUE, chunks="foo"), "chunks: 'foo' found, a whole number"),
        (lambda ds: create(geom(), energy_true=TRUE, chunks=(1, 2)), r"chunks: \(1, 2\) found, a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(xonoff.tutorial.dataset().onoff.to_map_dataset())


def test_scalars_stay_small_in_a_lazy_dataset(no_compute):
    ds = create(geom(), energy_true=TRUE, chunks={"y": 50})
    ds = ds.drop_vars(["counts_off", "acceptance", "acceptance_off"]).assign(background=ds.counts)
    out = xonoff.from_map_dataset(ds, 1.0, 10.0)
    assert out.acceptance.chunks == ds.counts.chunks
    assert out.counts_off.chunks
    with pytest.raises(xonoff.GeometryError, match="1 has to lie in one of the bins"):
        create(geom(), energy_true=TRUE, migra=[0.2, 0.8])
