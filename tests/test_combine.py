"""Stacking: the reference stack, conservation laws, and what is refused."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import pytest
import xarray as xr
from datasets import EDGES, EDGES_TRUE, lazy, make, parent, projections, seeds, unrecorded, windows
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff import stack
from xonoff.combine import to_masked
from xonoff.irf import edisp_kernel
from xonoff.masks import on_grid
from xonoff.quantities import usable

CUBES = ("counts", "counts_off", "acceptance", "acceptance_off", "mask_safe", "mask_fit", "exposure")


def assert_close(a: xr.Dataset, b: xr.Dataset, rtol: float = 1e-12) -> None:
    """Everything but the order of the observations."""
    assert set(a.variables) == set(b.variables)
    for name in a.data_vars:
        assert a[name].dims == b[name].dims
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=1e-300, err_msg=str(name))
    for name in ("lat", "lon", "energy_bounds", "gti_start", "gti_stop"):
        np.testing.assert_array_equal(a[name], b[name])
    np.testing.assert_array_equal(np.sort(a.obs_id), np.sort(b.obs_id))
    assert a.onoff.geom == b.onoff.geom


def brute_force(datasets: list[xr.Dataset]) -> dict[str, np.ndarray]:
    """The rules of the data model, bin by bin."""
    shape = datasets[0].counts.shape
    out = {name: np.zeros(shape) for name in CUBES[:4]}
    for index in np.ndindex(*shape):
        n_on = n_off = a_on = a_off = expected = 0.0
        for ds in datasets:
            if ds.mask_safe.values[index]:
                on, off, acc, acc_off = (float(ds[name].values[index]) for name in CUBES[:4])
                n_on, n_off, a_on, a_off = n_on + on, n_off + off, a_on + acc, a_off + acc_off
                expected += acc / acc_off * off
        effective = a_on * n_off / expected if expected > 0 else a_off
        for name, value in zip(CUBES, (n_on, n_off, a_on, effective), strict=False):
            out[name][index] = value
    return out


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_bins_by_brute_force(projection):
    datasets = [make(seed, projection) for seed in range(3)]
    total = stack(datasets)
    for name, expected in brute_force(datasets).items():
        np.testing.assert_allclose(total[name], expected, rtol=1e-13, err_msg=name)
    np.testing.assert_array_equal(total.mask_safe, sum(ds.mask_safe.values for ds in datasets) > 0)
    fit = sum((ds.mask_safe & ds.mask_fit).values for ds in datasets) > 0
    np.testing.assert_array_equal(total.mask_fit, fit)
    images = [ds.mask_safe.values.any(0) for ds in datasets]
    exposure = sum(ds.exposure.values * image for ds, image in zip(datasets, images, strict=True))
    np.testing.assert_allclose(total.exposure, exposure, rtol=1e-13)
    xonoff.validate(total)


@settings(max_examples=5, deadline=None)
@given(seed=seeds, projection=projections, on_dask=st.booleans(), parts=st.lists(windows(), min_size=3, max_size=3))
def test_order_and_grouping_do_not_matter(seed, projection, on_dask, parts):
    a, b, c = (make(seed + i, projection, window=part) for i, part in enumerate(parts))
    if on_dask:
        a, b = lazy(a), lazy(b)
    total = stack([a, b, c])
    assert_close(stack([c, a, b]), total)
    assert_close(stack([stack([a, b]), c]), total)
    assert_close(stack([a, stack([b, c])]), total)
    assert (total.counts.chunks is not None) == on_dask


@pytest.mark.parametrize("on_dask", [False, True])
def test_grouping_through_zarr(tmp_path, on_dask):
    a, b, c = (make(seed, window=(slice(seed, None), slice(None))) for seed in range(3))
    (lazy(stack([a, b])) if on_dask else stack([a, b])).onoff.to_zarr(tmp_path / "ab.zarr")
    stored = xonoff.open_dataset(tmp_path / "ab.zarr", chunks={} if on_dask else None)
    assert_close(stack([stored, c]), stack([a, b, c]))


@settings(max_examples=12, deadline=None)
@given(seed=seeds, migra=st.booleans(), masked=st.booleans())
def test_a_prediction_from_the_stack_is_the_sum_of_the_masked_predictions(seed, migra, masked):
    datasets = [make(seed + i, migra=migra, masks=masked) for i in range(3)]
    total = stack(datasets)
    flux = 1 / EDGES_TRUE[:-1] - 1 / EDGES_TRUE[1:]
    expected = 0.0
    for ds in datasets:
        allowed = on_grid(usable(ds), ds, "edisp").values
        kernel = edisp_kernel(ds).values
        expected = expected + np.einsum("t,tyx,teyx->eyx", flux, ds.edisp_exposure.values, kernel) * allowed
    found = np.einsum("t,tyx,teyx->eyx", flux, total.edisp_exposure.values, total.edisp.values)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert total.edisp.dims[:2] == ("energy_true", "energy")


def test_a_threshold_is_carried_exactly_for_any_binning():
    """The peer loses it for some binnings: its mask is interpolated linearly, and rounding turns 0 into True."""
    for nbin in range(2, 12):
        edges = xonoff.energy_edges(1, 100, n=nbin)
        ds = make(1).isel(energy=[0]).drop_vars(["energy", "energy_bounds", "mask_fit", "edisp"])
        ds = xr.concat([ds] * nbin, "energy", data_vars="minimal", coords="minimal", compat="override", join="exact")
        ds = ds.assign_coords(xonoff.axes.axis_coords("energy", edges))
        kernel = np.full((ds.sizes["energy_true"], nbin, 3, 4), 1 / nbin)
        ds["edisp"] = (("energy_true", "energy", "y_edisp", "x_edisp"), kernel, {"units": "1"})
        ds["mask_safe"] = xr.ones_like(ds.counts, dtype=bool)
        for k in range(nbin):
            other = ds.assign(mask_safe=ds.mask_safe & (np.arange(nbin) != k)[:, None, None])
            total = stack([ds, other])
            ratio = (total.edisp * 2).isel(energy_true=0, y_edisp=1, x_edisp=1) * nbin
            expected = np.where(np.arange(nbin) == k, 1.0, 2.0) if nbin > 1 else [1.0]
            np.testing.assert_allclose(ratio, expected, rtol=1e-12)


@settings(max_examples=12, deadline=None)
@given(seed=seeds, projection=projections, part=windows(), on_dask=st.booleans())
def test_the_cutout_of_a_stack_is_the_stack_of_cutouts(seed, projection, part, on_dask):
    a, b = make(seed, projection), make(seed + 1, projection)
    if on_dask:
        a = lazy(a)
    dims = a.onoff.sky_dims
    index = dict(zip(dims, part, strict=True))
    of_stack, of_cutouts = stack([a, b]).isel(index), stack([a.isel(index), b.isel(index)])
    for name in CUBES:
        np.testing.assert_allclose(of_stack[name], of_cutouts[name], rtol=1e-12)
    assert of_stack.onoff.geom == of_cutouts.onoff.geom
    onto = stack([a, b], geom=of_stack.onoff.geom)
    for name in CUBES:
        np.testing.assert_allclose(onto[name], of_stack[name], rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, low=st.integers(0, 3), n=st.integers(1, 4))
def test_slicing_and_stacking_commute(seed, low, n):
    a, b = make(seed), make(seed + 1)
    energy = {"energy": slice(low, min(low + n, 4))}
    of_stack, of_slices = stack([a, b]).isel(energy), stack([a.isel(energy), b.isel(energy)])
    for name in CUBES[:-1]:
        np.testing.assert_allclose(of_stack[name], of_slices[name], rtol=1e-12)


def test_alpha_survives_where_there_is_no_off_count():
    a, b = make(1), make(2)
    for ds in (a, b):
        ds["counts_off"] = ds.counts_off * 0
        ds["acceptance_off"] = ds.acceptance * 4
    total = stack([a, b])
    np.testing.assert_allclose(total.onoff.alpha.where(total.mask_safe, 0.25), 0.25, rtol=1e-12)


@settings(max_examples=12, deadline=None)
@given(seed=seeds)
def test_the_background_is_conserved(seed):
    a, b = make(seed), make(seed + 1)
    expected = sum(ds.onoff.background.where(ds.mask_safe, 0) for ds in (a, b))
    found = stack([a, b]).onoff.background
    np.testing.assert_allclose(found.fillna(0), expected, rtol=1e-12)


def test_invalid_bins_add_nothing():
    a, b = make(1, masks=False), make(2, masks=False)
    a["acceptance_off"][0, 2, 3] = np.nan
    a["counts_off"] = a.counts_off.astype(float)
    a["counts_off"][1, 2, 3] = -1
    a["acceptance_off"][2, 2, 3] = 0
    total = stack([a, b])
    for name in CUBES[:3]:
        np.testing.assert_allclose(total[name][:3, 2, 3], b[name][:3, 2, 3])
    assert total.mask_safe.values.all()
    alone = to_masked(a)
    assert not alone.mask_safe[:3, 2, 3].any()
    assert "mask_fit" not in alone
    xonoff.validate(alone)


def test_masked_is_stacked_alone_and_once_is_enough():
    ds = make(3)
    once = ds.onoff.to_masked()
    assert_close(once, stack([ds]))
    assert_close(once.onoff.to_masked(), once)
    assert once.onoff.name == "run 3"
    np.testing.assert_array_equal(once.counts, ds.counts.where(ds.mask_safe, 0))


def test_a_cutout_goes_into_a_larger_map_and_what_is_outside_is_left_out():
    whole = make(0)
    part = make(1, window=(slice(2, 4), slice(0, 5)))
    moved = part.assign_coords(parent("TAN").window((4, 5), (6, 10)).coords())
    inside, partly = whole.onoff.stack(part), whole.onoff.stack(moved)
    assert inside.onoff.geom == partly.onoff.geom == whole.onoff.geom
    plain = whole.onoff.to_masked()
    added = (part.counts.where(part.mask_safe, 0)).values
    np.testing.assert_array_equal((inside.counts - plain.counts).values[:, 2:4, :5], added)
    np.testing.assert_array_equal((partly.counts - plain.counts).values[:, 4:, 5:], added[:, :, :3])
    both = stack([whole, moved])
    assert both.onoff.geom.sky.shape == (6, 10)
    assert float(both.counts.sum()) == float(plain.counts.sum() + added.sum())


def test_float32_storage_sums_in_float64():
    ds = make(1, masks=False, storage=np.float32)
    ds["counts"] = xr.full_like(ds.counts, 2.0**24, dtype=np.float32)
    one = ds.assign(counts=xr.ones_like(ds.counts))
    assert (stack([ds, one]).counts == 2.0**24 + 1).all()


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_dask_stays_lazy_and_equals_memory(projection, no_compute):
    datasets = [make(i, projection, window=(slice(i, 5 + i), slice(0, 8 - i))) for i in range(3)]
    total = stack([lazy(datasets[0]), *datasets[1:]])
    assert all(array.chunks for array in total.data_vars.values())
    with dask.config.set(scheduler="synchronous"):
        assert_close(total.compute(), stack(datasets), rtol=0)


def test_the_graph_stays_small():
    ds = make(0).chunk({"energy": 2, "y": 3, "x": 4})
    total = stack([ds] * 10)
    blocks = total.counts.data.npartitions
    assert len(total.counts.__dask_graph__()) < blocks * 10 * 30


def test_inputs_are_left_alone_and_an_iterator_is_gone_through_once(tmp_path):
    datasets = [make(i) for i in range(3)]
    copies = [ds.copy(deep=True) for ds in datasets]
    total = stack(datasets)
    for ds, copy in zip(datasets, copies, strict=True):
        xr.testing.assert_identical(ds, copy)
    for i, ds in enumerate(datasets):
        ds.onoff.to_zarr(tmp_path / f"{i}.zarr")
    opened = (xonoff.open_dataset(tmp_path / f"{i}.zarr") for i in range(3))
    assert_close(stack(opened, geom=datasets[0].onoff.geom), total)
    first = xonoff.open_dataset(tmp_path / "0.zarr")
    stack([first, datasets[1]])
    assert not first.variables["counts"]._in_memory


LAYOUTS = {
    "read-only": lambda a: np.lib.stride_tricks.as_strided(a, writeable=False),
    "fortran": np.asfortranarray,
    "reversed": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "float32": lambda a: a.astype(np.float32) if a.dtype.kind == "f" else a,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part", [slice(0, 6), slice(2, 5)])  # whole, and in part outside of the result
def test_any_memory_layout_and_thread(layout, part):
    ds = make(1)
    ds["mask_safe"] = ds.mask_safe & np.isin(np.arange(6), (2, 3))[:, None]
    ds["counts"] = ds.counts.astype(float)
    ds["counts"][1, 2, 3] = np.nan
    other = ds.assign({name: (v.dims, LAYOUTS[layout](v.values), v.attrs) for name, v in ds.data_vars.items()})
    before = other.copy(deep=True)
    geom = ds.isel(y=part).onoff.geom
    expected = stack([ds, ds, ds], geom)
    found = [stack([other, other, other], geom), stack(iter([other] * 3), geom)]
    with ThreadPoolExecutor(1) as pool:
        found.append(pool.submit(stack, [other, other, other], geom).result())
    for total in found:
        assert_close(total, expected, 1e-6 if layout == "float32" else 1e-12)
    xr.testing.assert_identical(other, before)


def test_a_mask_of_energies_alone():
    ds = make(3)
    energies = np.array([False, True, True, False])
    thin = ds.assign(mask_safe=("energy", energies))
    full = ds.assign(mask_safe=(ds.mask_safe.dims, np.broadcast_to(energies[:, None, None], ds.mask_safe.shape)))
    assert_close(stack([thin, thin]), stack([full, full]))
    assert_close(stack([lazy(thin), lazy(thin)]), stack([full, full]))


def test_spectra_are_weighted_by_their_exposure():
    a, b = (
        make(seed).isel(y=2, x=3).drop_vars(["psf", "psf_exposure", "edisp_exposure", "wcs", "x", "y"])
        for seed in (1, 2)
    )
    a, b = (ds.assign(edisp=ds.edisp.isel(y_edisp=0, x_edisp=0, drop=True)) for ds in (a, b))
    a, b = (ds.drop_vars([n for n in ds.coords if str(n).endswith(("_psf", "_edisp"))]) for ds in (a, b))
    total = stack([a, b])
    assert total.counts.dims == ("energy",)
    expected = sum((ds.exposure * ds.edisp * ds.mask_safe).values for ds in (a, b))
    np.testing.assert_allclose((total.exposure * total.edisp).values, expected, rtol=1e-12)
    assert float(total.lat) == float(a.lat)


def test_a_background_template_and_response_alone():
    ds = make(1).drop_vars(["counts_off", "acceptance", "acceptance_off"])
    ds["background"] = xr.full_like(ds.counts, 0.5, dtype=float)
    total = stack([ds, ds])
    np.testing.assert_array_equal(total.background, ds.mask_safe * 1.0)
    response = make(1)[["exposure", "psf", "psf_exposure", "edisp", "edisp_exposure"]]
    response = response.assign_coords({n: make(1)[n] for n in make(1).coords if n not in response.coords})
    np.testing.assert_allclose(stack([response, response]).exposure, 2 * response.exposure)


def test_names_and_attributes():
    a, b = make(1), make(1).assign_attrs(note="x")
    assert unrecorded(stack([a, a])).attrs == a.attrs
    assert unrecorded(stack([a, b])).attrs == a.attrs
    assert stack([a, make(2)]).onoff.name == "stacked"


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.drop_vars("counts_off"), r"dataset 2 \('run 1'\): bins: .* found.* in dataset 1: the datasets"),
        (lambda ds: ds.isel(energy=slice(1, None)), r"dataset 2 .*: energy with edges .* found, .* in dataset 1"),
        (lambda ds: ds.isel(energy_true=slice(1, None)), r"dataset 2 .*: energy_true with edges .* found"),
        (
            lambda ds: ds.isel(x=slice(None, None, 2)),
            r"dataset 2 .*: two sky grids whose pixels do not coincide: steps",
        ),
        (
            lambda ds: ds.assign_coords(parent("TAN", (7, 8)).slice(slice(0, 6), slice(None)).coords()),
            r"CRPIX2 = 4.0 against 3.5, no whole number of pixels apart; the first pixel lies at \(y, x\) = \(-?0.5, ",
        ),
        (
            lambda ds: ds.assign_coords(
                xonoff.SkyGrid.create(
                    (83.6, 22.0), shape=(6, 8), pixel_size=0.1, projection="TAN", frame="galactic"
                ).coords()
            ),
            "CTYPE1 = ",
        ),
        (lambda ds: ds.drop_vars("edisp_exposure"), r"dataset 2 .*: edisp: .* found"),
        (lambda ds: ds.drop_vars("wcs"), "without wcs found"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        stack([make(0), change(make(1))])


def test_other_projections_name_the_card():
    other = make(1).assign_coords(
        xonoff.SkyGrid.create((83.6, 22.0), shape=(6, 8), pixel_size=0.1, projection="SIN").coords()
    )
    with pytest.raises(xonoff.GeometryError, match=r"CTYPE1 = 'RA---(SIN|TAN)' against 'RA---(TAN|SIN)'"):
        stack([make(0), other])


def test_arguments_that_are_no_datasets():
    with pytest.raises(xonoff.SchemaError, match="one dataset found, a list of datasets accepted"):
        stack(make(0))
    with pytest.raises(xonoff.SchemaError, match="no dataset found"):
        stack([])
    with pytest.raises(xonoff.SchemaError, match="no dataset found"):
        stack(iter([]), geom=make(0).onoff.geom)
    with pytest.raises(xonoff.SchemaError, match="input 2 is a str"):
        stack([make(0), "x"])
    with pytest.raises(xonoff.SchemaError, match="none of the variables that a stack sums"):
        stack([xr.Dataset()])
    with pytest.raises(xonoff.GeometryError, match="a geometry without a sky found, but dataset 1 has one"):
        stack([make(0)], geom=xonoff.Geom(None, tuple(EDGES)))
    with pytest.raises(xonoff.GeometryError, match=r"energy with edges .* in the geometry"):
        stack([make(0)], geom=xonoff.Geom(parent("TAN"), (1.0, 2.0)))
    no_weight = make(0).drop_vars("psf_exposure")
    with pytest.raises(xonoff.SchemaError, match="psf: the dataset has no psf_exposure to weight it with"):
        stack([no_weight, no_weight])


# -- any order of dimensions, any part of the variables ---------------------------------------------------------------


@pytest.mark.parametrize("order", [("lat", "lon", "energy"), ("energy", "lon", "lat"), ("lon", "energy", "lat")])
def test_the_order_of_dimensions_does_not_matter(order):
    ds = make(1, "CAR", window=(slice(0, 6), slice(0, 6)))
    turned = ds.transpose(*order, "energy_true", ...)
    expected = stack([ds, ds])
    for found in (stack([turned, turned]), stack([lazy(turned), turned]).compute()):
        assert_close(found, expected)
    for name, function in {
        "downsample": lambda d: d.onoff.downsample((2, 3)),
        "image": lambda d: d.onoff.to_image(),
        "energies": lambda d: d.onoff.resample_energy(EDGES[[0, 2, 4]]),
    }.items():
        one, two = function(ds), function(turned)
        for variable in one.data_vars:
            np.testing.assert_allclose(two[variable].transpose(*one[variable].dims), one[variable], err_msg=name)


@pytest.mark.parametrize("missing", ["counts", "counts_off", "acceptance"])
def test_validity_is_the_same_lazily_in_part_and_in_wider_bins(missing):
    ds = make(5, "CAR").drop_vars(missing)
    for name in ("acceptance_off", "counts_off", "counts"):
        if name in ds:
            values = ds[name].values.astype(float)
            values[:, 0, :4] = (0, np.nan, np.inf, -1)
            ds[name] = ds[name].copy(data=values)
    expected = stack([ds, ds])
    assert_close(stack([lazy(ds), ds]).compute(), expected)
    geom = ds.isel(lon=slice(0, 5)).onoff.geom
    np.testing.assert_array_equal(stack([ds, ds], geom).mask_safe, expected.mask_safe[:, :, :5])
    image = stack([ds]).onoff.to_image()
    for name in ds.onoff.to_image().data_vars:
        if name in CUBES[:4]:
            np.testing.assert_allclose(ds.onoff.to_image()[name], image[name], rtol=1e-12)


def test_a_background_that_overflows_is_invalid():
    ds = make(5, "CAR")
    counts_off = ds.counts_off.values.astype(float)
    counts_off[0, 0, 0] = 1e308
    acceptance_off = ds.acceptance_off.values
    acceptance_off[0, 0, 0] = 1e-5
    ds["counts_off"] = ds.counts_off.copy(data=counts_off)
    total = stack([ds, ds])
    assert not total.mask_safe[0, 0, 0]
    assert np.isfinite(total.acceptance_off).all()
    assert_close(stack([lazy(ds), lazy(ds)]), total)


def test_a_response_of_all_pixels_comes_from_those_in_the_layout():
    def without_sky(ds):
        ds = ds.drop_vars(["psf", "edisp", "psf_exposure", "edisp_exposure"])
        return ds.assign(exposure=ds.exposure.isel(lat=0, lon=0, drop=True))

    a, b = (without_sky(make(i, "CAR", window=(slice(0, 6), slice(4 * i, 4 * i + 4)))) for i in (0, 1))
    total = stack([a, b], geom=a.onoff.geom)
    np.testing.assert_allclose(total.exposure, a.exposure)
    np.testing.assert_allclose(stack([a, b]).exposure, a.exposure + b.exposure)


def test_a_row_of_a_reversed_map_goes_into_it():
    ds = make(3, "CAR").isel(lat=slice(None, None, -1), lon=slice(None, None, -1))
    total = stack([ds.isel(lat=slice(0, 1)), ds])
    assert total.onoff.geom == ds.onoff.geom
    counts = ds.counts.where(ds.mask_safe, 0).values
    expected = counts.copy()
    expected[:, 0] *= 2
    np.testing.assert_array_equal(total.counts, expected)


def test_results_have_consistent_chunks():
    ds = lazy(make(2, "TAN"))
    for result in (
        stack([ds]),
        stack([ds, make(3, "TAN")]),
        ds.onoff.resample_energy(EDGES[[0, 2, 4]]),
        ds.onoff.downsample(2),
        ds.assign(counts=make(2, "TAN").counts).onoff.to_image(),
        ds.onoff.sel(([83.6, 83.5], [22.0, 22.1])),
        ds.onoff.pad(2),
    ):
        assert result.chunks


def test_a_stream_holds_one_dataset_at_a_time():
    alive = []

    def runs():
        for i in range(4):
            gc.collect()
            assert sum(reference() is not None for reference in alive) <= 1, "an earlier dataset is still there"
            ds = make(i)
            alive.append(weakref.ref(ds["counts"].values))
            yield ds
            del ds

    stack(runs(), geom=make(0).onoff.geom)
    assert len(alive) == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: stack([ds, ds.isel(energy=0)]), "counts has no dimension energy"),
        (lambda ds: stack([ds.isel(y=3)]), "without the other or without wcs found"),
        (lambda ds: stack([ds.drop_vars("wcs")]), "without the other or without wcs found"),
        (lambda ds: stack([ds[["counts"]].drop_vars("energy_bounds", errors="ignore")]), "energy_bounds"),
        (lambda ds: stack([ds], geom=3), "geom: a int found, a Geom accepted"),
        (lambda ds: stack(iter([ds, 3]), geom=ds.onoff.geom), "input 2 is a int"),
        (lambda ds: ds.onoff.resample_energy([[1, 2], [4, 8]]), r"shape \(2, 2\) found, a list"),
        (lambda ds: ds.onoff.to_image(lambda e: e[:2]), "one number for each energy wanted"),
        (lambda ds: ds.onoff.to_image(lambda e: "x"), "one number for each energy wanted"),
    ],
)
def test_unusable_input_is_named(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(make(1))
