"""Simulated counts: random numbers by the published values, draws by exact laws, the same whatever the chunks."""

from itertools import pairwise
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from datasets import lazy as in_chunks
from datasets import make, projections, seeds, unrecorded
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as laws
from test_quantities import spectrum

import xonoff
from xonoff import simulate
from xonoff.models import GaussianSource, PointSource, PowerLaw1D, SkyModel
from xonoff.predict import npred_signal
from xonoff.simulate import asimov, fake
from xonoff.stats import poisson

U = np.uint64
SIDES = ("counts", "counts_off")
CRAB = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.6, 22.0))
CLOUD = SkyModel("cloud", PowerLaw1D(2e-11, 1, 2.2), GaussianSource(83.5, 21.9, 0.1, e=0.5))


def draws(mu: Any, n: int | None = None, *, stream: int = 0, key: int = 7, first: int = 0) -> np.ndarray:
    """Counts of bins with the expectations `mu`, or of `n` bins with one expectation."""
    expected = np.full(n, float(mu)) if n else np.asarray(mu, dtype=float)
    out = np.empty(expected.size, np.float32)
    poisson.draw(expected, np.arange(first, first + expected.size).astype(U), U(stream), U(key), out)
    return out.astype(float)


# -- random numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_random_numbers_are_those_published_for_philox(counter, key, expected):
    """The known answers that come with Random123, the code of Salmon et al."""
    words = poisson.philox(U(counter[0] | counter[1] << 32), U(counter[2]), U(counter[3]), U(key[0] | key[1] << 32))
    assert [int(word) >> shift & 0xFFFFFFFF for word in words for shift in (0, 32)] == list(expected)


def test_small_counts_are_the_quantiles_of_the_random_numbers():
    mu = 10 ** np.random.default_rng(1).uniform(-6, np.log10(40), 20_000)
    first = 2**40  # numbers of more than 32 bits
    bits = [int(poisson.philox(U(first + i), U(0), U(1), U(7))[0]) for i in range(mu.size)]
    u = np.array([word >> 11 for word in bits]) * 2.0**-53
    np.testing.assert_array_equal(draws(mu, stream=1, first=first), laws.poisson.ppf(u, mu))


# -- distributions ----------------------------------------------------------------------------------------------------


def chi_square(counts: np.ndarray, mu: float) -> float:
    """Probability of a worse agreement with a Poisson distribution, in classes of at least 20 expected."""
    quantiles = np.linspace(0, 1, min(counts.size // 20, 200) + 1)[1:-1]
    edges = np.unique(laws.poisson.ppf(quantiles, mu))
    share = np.diff(np.concatenate([[0.0], laws.poisson.cdf(edges, mu), [1.0]]))
    while share.size > 1 and share[-1] * counts.size < 20:
        share = np.append(share[:-2], share[-2:].sum())
        edges = edges[:-1]
    found = np.bincount(np.searchsorted(edges, counts), minlength=share.size)
    if share.size == 1:
        return 1.0
    return float(laws.chisquare(found, share * counts.size).pvalue)


@pytest.mark.parametrize(
    "mu", [1e-6, 1e-3, 0.1, 0.7, 1, 3, 9.5, 19, 33, 39.9, 40, 40.5, 47, 77, 150, 1e3, 12345.6, 1e5, 1e6]
)
def test_draws_follow_the_poisson_distribution(mu):
    counts = draws(mu, 1_000_000)
    assert (counts == np.floor(counts)).all()
    assert (counts >= 0).all()
    assert chi_square(counts, mu) > 1e-3
    assert abs(counts.mean() - mu) < 4 * np.sqrt(mu / counts.size)
    assert abs(counts.var() - mu) < 4 * np.sqrt((mu + 2 * mu**2) / counts.size)


@pytest.mark.parametrize("mu", [0.5, 3, 60])
@pytest.mark.parametrize("other", ["the next bin", "the next row", "the other side", "another seed"])
def test_draws_of_other_bins_sides_and_seeds_are_independent(mu, other):
    n = 400_000
    one = draws(mu, n)
    two = {
        "the next bin": lambda: draws(mu, n, first=1),
        "the next row": lambda: draws(mu, n, first=500),
        "the other side": lambda: draws(mu, n, stream=1),
        "another seed": lambda: draws(mu, n, key=8),
    }[other]()
    cuts = np.unique(laws.poisson.ppf(np.linspace(0, 1, 9)[1:-1], mu))
    table = np.zeros((cuts.size + 1,) * 2)
    np.add.at(table, (np.searchsorted(cuts, one), np.searchsorted(cuts, two)), 1)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    assert laws.chi2_contingency(table).pvalue > 1e-3


def test_an_expectation_that_is_none_has_no_count():
    np.testing.assert_array_equal(draws([np.nan, -1e-9, np.inf, -np.inf, 0.0, -0.0]), [np.nan] * 4 + [0, 0])
    for mu in (1e15, 1e19, 1e30):
        huge = draws(mu, 1000)
        assert abs(huge / mu - 1).max() < 1e-6  # float32 holds no more


@pytest.mark.parametrize("mu", [1e-3, 3.7, 40, 41.5, 1e4, 1e12])
def test_the_last_bits_of_an_expectation_make_no_difference(mu):
    """Not even where one way of drawing gives way to the other."""
    rounded = np.float64(np.float32(mu))  # no border of the rounding is near
    near = [rounded * (1 + n * 2.0**-52) for n in (-50, -1, 0, 1, 50)]
    assert len(set(near)) == 5
    counts = [draws(value, 20_000) for value in near]
    assert all((other == counts[0]).all() for other in counts)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.sets(st.integers(1, 2999), max_size=6))
def test_a_bin_is_the_same_in_any_part_and_order(seed, cuts):
    rng = np.random.default_rng(seed)
    mu = 10 ** rng.uniform(-3, 4, 3000)
    whole = draws(mu)
    ends = [0, *sorted(cuts), 3000]
    parts = [draws(mu[a:b], first=a) for a, b in pairwise(ends)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = rng.permutation(3000)
    out = np.empty(3000, np.float32)
    poisson.draw(mu[order], order.astype(U), U(0), U(7), out)
    np.testing.assert_array_equal(out, whole[order])


# -- datasets ---------------------------------------------------------------------------------------------------------


def test_a_thousand_fakes_have_the_mean_and_variance_of_poisson():
    ds = make(1)
    background = ds.acceptance * 30
    signal = npred_signal(ds, CRAB)
    fakes = [fake(ds, background, seed, CRAB)[list(SIDES)] for seed in range(1000)]
    expected = {"counts": signal + background, "counts_off": background / ds.onoff.alpha}
    for side in SIDES:
        mu = expected[side].values.ravel()
        counts = np.stack([simulated[side].values.ravel() for simulated in fakes]).astype(float)
        assert counts.max() > 40  # both ways of drawing
        n = len(counts)
        mean = ((counts.mean(axis=0) - mu) ** 2 / (mu / n)).sum()
        assert 1e-3 < laws.chi2.sf(mean, mu.size) < 1 - 1e-3
        spread = (counts - mu) ** 2 / mu  # has the mean 1 and the variance 2 + 1 / mu
        variance = (spread.sum() - spread.size) / np.sqrt(n * (2 + 1 / mu).sum())
        assert abs(variance) < 3.3
        each = (spread.mean(axis=0) - 1) / np.sqrt((2 + 1 / mu) / n)
        assert 1e-3 < laws.chi2.sf((each**2).sum(), mu.size) < 1 - 1e-3
    on, off = (np.stack([s[side].values.ravel() for s in fakes]) for side in SIDES)
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(on.T, off.T, strict=True)]
    assert 1e-3 < laws.chi2.sf((np.square(correlation) * len(fakes)).sum(), len(correlation)) < 1 - 1e-3


@pytest.mark.parametrize("total", [40.0, 60.0])
def test_counts_are_the_same_where_signal_and_background_make_a_round_number(total, no_compute):
    """The signal of extended models is added in another order in chunks, so its last bits differ."""
    ds = make(3, "TAN")
    chunked = ds.chunk({"energy": 1, "y": 2, "x": 3, "energy_true": 2})
    background = total - npred_signal(ds, [CRAB, CLOUD])
    with dask.config.set(scheduler="threads"):
        one, other = (asimov(d, background, [CRAB, CLOUD]).counts.compute() for d in (ds, chunked))
        assert not one.equals(other)
        counts = fake(chunked, background, 1, [CRAB, CLOUD]).counts.compute()
    xr.testing.assert_identical(counts, fake(ds, background, 1, [CRAB, CLOUD]).counts)


CHUNKS = [
    {"energy": 1},
    {"energy": 3, 1: 4, 2: 5},
    {"energy": (1, 2, 1), 1: (1, 2, 3), 2: 7},
    {"energy": 4, 1: 1, 2: 4},
    {},
]


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_counts_are_the_same_whatever_the_chunks(projection, chunks, no_compute):
    ds = make(3, projection)
    background = ds.acceptance * 10
    dims = ds.counts.dims
    cut = {dims[dim] if isinstance(dim, int) else dim: size for dim, size in chunks.items()}
    for models in ([], [CRAB, CLOUD]):
        whole = fake(ds, background, 11, models)
        found = fake(ds.chunk(cut), background, 11, models)
        for side in SIDES:
            assert found[side].chunks is not None
            assert found[side].dtype == np.float32
            with dask.config.set(scheduler="threads"):
                xr.testing.assert_identical(found[side].compute(), whole[side])


def test_a_background_may_be_lazy_or_smaller(no_compute):
    ds = make(3)
    whole = fake(ds, ds.acceptance, 11)
    for cut in (ds, in_chunks(ds)):
        found = fake(cut, ds.acceptance.chunk({"energy": 1, "x": 3}), 11)
        with dask.config.set(scheduler="threads"):
            for side in SIDES:
                xr.testing.assert_identical(found[side].compute(), whole[side])
    image = ds.acceptance[0]
    whole, found = fake(ds, image, 11), fake(in_chunks(ds), image, 11)
    with dask.config.set(scheduler="threads"):
        xr.testing.assert_identical(found.counts.compute(), whole.counts)


def test_the_tutorial_in_chunks(ds, lazy, no_compute):
    whole, found = (d.onoff.fake(d.acceptance, 5, CRAB) for d in (ds, lazy))
    with dask.config.set(scheduler="synchronous"):
        for side in SIDES:
            np.testing.assert_array_equal(found[side].compute(), whole[side])
    assert found.counts.chunksizes == lazy.counts.chunksizes


@settings(max_examples=15, deadline=None)
@given(seed=seeds, projection=projections)
def test_the_dataset_given_stays_as_it_is_and_shares_the_rest(seed, projection):
    ds = make(seed, projection)
    before = ds.copy(deep=True)
    for made in (fake(ds, 1.0, seed), asimov(ds, 1.0)):
        xr.testing.assert_identical(ds, before)
        assert set(made.variables) == set(ds.variables)
        for name in set(ds.variables) - set(SIDES):
            assert made[name].variable.identical(ds[name].variable)
        for name in set(ds.data_vars) - set(SIDES):
            assert np.shares_memory(made[name].values, ds[name].values)
        assert unrecorded(made).attrs == ds.attrs
        assert all(made[side].dims == ds.counts.dims and made[side].attrs["units"] == "1" for side in SIDES)
        made.onoff.validate()


def test_seeds(ds):
    one = fake(ds, 2.0, 1)
    xr.testing.assert_identical(one, fake(ds, 2.0, np.int64(1)))
    assert one.counts.attrs["seed"] == one.counts_off.attrs["seed"] == 1
    assert not one.counts.equals(fake(ds, 2.0, 2).counts)
    fresh, other = fake(ds, 2.0), fake(ds, 2.0)
    assert not fresh.counts.equals(other.counts)
    again = fake(ds, 2.0, fresh.counts.attrs["seed"])
    xr.testing.assert_identical(unrecorded(again), unrecorded(fresh))
    fake(ds, 2.0, 2**63 - 1)


def test_what_is_not_known_stays_so():
    nan = np.nan
    #                    no off  alpha 0  alpha?  b?     fine
    ds = spectrum([9] * 5, [9] * 5, [1, 0, nan, 1, 1], [0, 4, 4, 4, 4])
    background = [50.0, 0.0, 50.0, nan, 50.0]
    for made in (fake(ds, background, 1), asimov(ds, background), fake(ds.chunk({"energy": 2}), background, 1)):
        counts, off = made.counts.values, made.counts_off.values
        np.testing.assert_array_equal(np.isnan(counts), [False, False, False, True, False])
        assert (abs(counts[[0, 2, 4]] - 50) < 30).all()
        np.testing.assert_array_equal(off[:4], [0, 0, 0, nan])
        assert abs(off[4] - 200) < 60
        np.testing.assert_array_equal(made.onoff.excess.isnull(), [True, False, True, True, False])
    invalid = fake(ds, ds.onoff.background, 1)  # as people take it
    np.testing.assert_array_equal(invalid.onoff.excess.isnull(), [True, False, True, False, False])
    assert not np.isnan(invalid.onoff.stat_sum())


def test_a_negative_signal_takes_away_from_the_background(ds):
    hole = SkyModel("hole", PowerLaw1D(-3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    signal = npred_signal(ds, hole)
    expected = asimov(ds, 2.0, hole)
    np.testing.assert_allclose(expected.counts, np.maximum(signal + 2.0, 0))
    assert (expected.counts == 0).any()
    made = fake(ds, 2.0, 1, hole)
    assert (made.counts.values[expected.counts.values == 0] == 0).all()


def test_spectra_images_single_pixels_and_single_bins(ds):
    from regions import CirclePixelRegion, PixCoord

    region = ds.onoff.to_spectrum(CirclePixelRegion(PixCoord(20, 20), 3))
    whole = ds.onoff.to_image()
    parts = {
        "spectrum": region,
        "spectrum of one energy": region.isel(energy=[2]),
        "one energy": region.isel(energy=2),
        "image": whole,
        "map without energy": whole.isel(energy=0),
        "pixel": ds.isel(lat=[20], lon=[20]),
        "row": ds.isel(lat=[20]),
        "column without length": ds.isel(lon=20),
    }
    for name, part in parts.items():
        made, expected = fake(part, 30.0, 4), asimov(part, 30.0)
        assert made.counts.shape == part.counts.shape, name
        for side in SIDES:
            assert (abs(made[side] - expected[side]) <= 6 * np.sqrt(expected[side])).all(), name
    image = fake(whole, 30.0, 4, CRAB)
    np.testing.assert_allclose(image.counts.mean(), asimov(whole, 30.0, CRAB).counts.mean(), rtol=0.01)


def test_the_order_of_dimensions_makes_no_difference(ds):
    turned = ds.transpose("lon", "energy", ...)
    xr.testing.assert_identical(fake(turned, ds.acceptance, 3).counts, fake(ds, ds.acceptance, 3).counts)
    xr.testing.assert_identical(fake(ds, turned.acceptance, 3).counts, fake(ds, ds.acceptance, 3).counts)


def test_no_counts_are_needed(ds):
    bare = ds.drop_vars(["counts", "counts_off"])
    made = fake(bare, ds.acceptance, 1, CRAB)
    for side in SIDES:
        np.testing.assert_array_equal(made[side], fake(ds, ds.acceptance, 1, CRAB)[side])
    fake(bare.drop_vars(["exposure", "psf", "edisp"]), 1.0, 1)


def test_models_are_those_that_the_dataset_carries(ds):
    carried = ds.onoff.assign_models(CRAB)
    np.testing.assert_array_equal(fake(carried, 1.0, 1).counts, fake(ds, 1.0, 1, CRAB).counts)
    np.testing.assert_array_equal(fake(carried, 1.0, 1, []).counts, fake(ds, 1.0, 1).counts)
    assert fake(carried, 1.0, 1).onoff.models[0].name == "crab"


@pytest.mark.parametrize("form", ["number", "array", "sky", "energy", "dask", "counts"])
def test_forms_of_a_background(ds, form):
    sky = ds.acceptance.values[0]
    given, expected = {
        "number": (np.float32(2), np.full(ds.counts.shape, 2.0)),
        "array": (ds.acceptance.values, ds.acceptance.values),
        "sky": (sky, np.broadcast_to(sky, ds.counts.shape)),
        "energy": (ds.acceptance[:, 3, 4], np.broadcast_to(ds.acceptance.values[:, 3:4, 4:5], ds.counts.shape)),
        "dask": (ds.acceptance.chunk().data, ds.acceptance.values),
        "counts": (ds.counts.astype(int), ds.counts.values),
    }[form]
    np.testing.assert_allclose(asimov(ds, given).counts.compute(), expected)


def test_a_background_is_placed_by_the_names_of_its_dimensions(ds):
    square = ds.isel(energy=slice(4), lat=slice(4), lon=slice(4))
    turned = square.acceptance.variable.transpose("lon", "energy", "lat")
    np.testing.assert_array_equal(asimov(square, turned).counts, square.acceptance)
    bare = square.acceptance.drop_vars(list(square.acceptance.coords))
    np.testing.assert_array_equal(asimov(square, bare.transpose(*turned.dims)).counts, square.acceptance)


@pytest.mark.parametrize("dtype", [float, int])
def test_what_is_masked_is_not_known(ds, dtype):
    hidden = np.random.default_rng(1).random(ds.counts.shape) < 0.3
    made = asimov(ds, np.ma.masked_array(np.full(hidden.shape, 2, dtype), hidden))
    np.testing.assert_array_equal(made.counts, np.where(hidden, np.nan, 2))
    np.testing.assert_array_equal(np.isnan(made.counts_off), hidden)


def test_a_signal_that_is_not_known_leaves_the_off_counts():
    signal, background, alpha = np.array([[np.nan, 1.0]]), np.array([[2.0, 2.0]]), np.array([[0.5, 0.5]])
    np.testing.assert_array_equal(simulate._expected(signal, background, alpha), [[[np.nan, 3]], [[4, 4]]])
    on, off = simulate._draws(signal, background, alpha, key=1)
    np.testing.assert_array_equal(np.isnan(on), [[True, False]])
    assert np.isfinite(off).all()


# -- Asimov -----------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(seed=seeds, projection=projections, scale=st.floats(0.1, 100))
def test_asimov_data_are_what_models_fit_best(seed, projection, scale):
    ds = make(seed, projection)
    background = scale * ds.acceptance
    expected = asimov(ds, background, CRAB)
    signal = npred_signal(ds, CRAB)
    np.testing.assert_allclose(expected.counts, signal + background)
    np.testing.assert_allclose(expected.counts_off * ds.onoff.alpha, background)
    assert expected.counts.dtype == np.float64
    assert 0 <= float(expected.onoff.stat_sum(CRAB)) < 1e-9
    for factor in (0.9, 0.99, 1.01, 1.1):
        other = SkyModel("crab", PowerLaw1D(factor * 3.5e-11, 1, 2.6), CRAB.spatial)
        assert float(expected.onoff.stat_sum(other)) > 1e-6
    assert np.nanmax(abs(expected.onoff.residuals("diff", CRAB))) < 1e-9 * scale * 100


def test_asimov_data_stay_lazy(no_compute):
    ds = make(8)
    whole, found = asimov(ds, 3.0, CRAB), asimov(in_chunks(ds), 3.0, CRAB)
    for side in SIDES:
        np.testing.assert_allclose(found[side].compute(scheduler="synchronous"), whole[side], rtol=1e-12)
        assert "seed" not in found[side].attrs


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["nc", "zarr", "fits"])
@pytest.mark.parametrize("chunked", [False, True])
def test_simulated_counts_travel_through_files(ds, lazy, tmp_path, suffix, chunked):
    made = fake(lazy if chunked else ds, ds.acceptance, 9, CRAB)
    path = tmp_path / f"fake.{suffix}"
    {"nc": made.onoff.to_netcdf, "zarr": made.onoff.to_zarr, "fits": made.onoff.to_fits}[suffix](path)
    back = xonoff.open_dataset(path)
    for side in SIDES:
        np.testing.assert_array_equal(back[side], made[side])
        assert back[side].dtype == np.float32
        assert suffix == "fits" or back[side].attrs["seed"] == 9


def test_asimov_data_keep_their_off_counts_in_fits_if_they_are_not_rounded(ds, tmp_path):
    expected = asimov(ds, ds.acceptance * 1e-4)
    expected.onoff.to_fits(tmp_path / "asimov.fits")
    back = xonoff.open_dataset(tmp_path / "asimov.fits", round_counts_off=False)
    for side in SIDES:
        np.testing.assert_array_equal(back[side], expected[side])
    rounded = xonoff.open_dataset(tmp_path / "asimov.fits")  # as the documentation warns
    assert rounded.counts_off.sum() < 0.9 * expected.counts_off.sum()


def test_a_simulated_spectrum_travels_through_ogip(ds, tmp_path):
    from regions import CirclePixelRegion, PixCoord

    made = fake(ds.onoff.to_spectrum(CirclePixelRegion(PixCoord(20, 20), 3)), 20.0, 9)
    made.onoff.to_ogip(tmp_path / "pha.fits")
    back = xonoff.open_dataset(tmp_path / "pha.fits")
    for side in SIDES:
        np.testing.assert_array_equal(back[side], made[side])


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: fake(ds.drop_vars("acceptance"), 1.0), "no variable acceptance .*add it with ds.assign"),
        (lambda ds: fake(ds, np.ones(3)), r"background: float64 of shape {'axis 0': 3} found, numbers on .*'lon': 40"),
        (lambda ds: fake(ds, ds.acceptance[:, :5]), "different pixels of one sky grid"),
        (lambda ds: fake(ds, ds.acceptance[:3]), "'energy': 3.* found"),
        (lambda ds: fake(ds, ds.mask_safe), "background: bool of shape"),
        (lambda ds: fake(ds, "many"), "'many' found, a number without unit"),
        (
            lambda ds: fake(ds, ds.acceptance.assign_coords(energy=ds.energy * 2)),
            r"background: energy 1.33.* TeV found where the dataset has 0.66.* TeV, .*: reindex the background",
        ),
        (lambda ds: fake(ds, xonoff.cutout.cutout(ds, (83.6, 22), 2.0).acceptance), "different pixels"),
        (lambda ds: fake(ds, -1.0), r"background: -1.0 counts .* 0 or more accepted.*clip\(min=0\)"),
        (
            lambda ds: fake(ds, ds.acceptance.where(ds.lat > 22, np.inf)),
            "background and models: inf counts expected in the on",
        ),
        (
            lambda ds: fake(ds, 1e20),
            r"1e\+20 counts expected in the on region of a bin found, up to 1e\+15 accepted: check",
        ),
        (lambda ds: fake(ds, 2e14), r"e\+15 counts expected in the off region of a bin found"),
        (lambda ds: asimov(ds.assign(acceptance=ds.acceptance.astype(float) * 1e-300), 1e14), r"inf counts .* the off"),
        (lambda ds: fake(ds, ds), r"background: a Dataset with the variables \['counts', .* found, one array accepted"),
        (lambda ds: fake(ds, ds.acceptance.variable[:, :5]), "'lat': 5.* found"),
        (
            lambda ds: fake(ds, ds.acceptance[..., ::-1].drop_vars("wcs")),
            "background: lon 81.6.* deg found where .* 85.5",
        ),
        (lambda ds: fake(ds, ds.acceptance.assign_coords(lat=ds.lat + 1).drop_vars("wcs")), "background: lat "),
        (lambda ds: asimov(ds, -ds.acceptance), "background: -.* counts"),
        (lambda ds: fake(ds, 1.0, -1), "seed: -1 found, a whole number from 0 up to 2"),
        (lambda ds: fake(ds, 1.0, 2**63), "seed: 9223372036854775808 found"),
        (lambda ds: fake(ds, 1.0, 1.5), "seed: 1.5 found"),
        (lambda ds: fake(ds, 1.0, True), "seed: True found"),
        (lambda ds: fake(ds, 1.0, 1, CRAB).onoff.fake(1.0, 1, "crab"), "models: a str found"),
        (lambda ds: fake(ds.drop_vars("exposure"), 1.0, 1, CRAB), "no exposure"),
    ],
)
def test_what_cannot_be_simulated_is_refused(ds, call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(ds)


def test_a_lazy_background_is_refused_when_it_is_computed(lazy, no_compute):
    made = fake(lazy, lazy.acceptance - 1, 1)
    with pytest.raises(xonoff.SchemaError, match=r"background: -.* counts expected in a bin found"):
        made.counts.compute(scheduler="synchronous")
