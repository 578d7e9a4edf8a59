from functools import partial

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import CircleSkyRegion
from test_neighbours import GRIDS, distances

from xonoff.backgrounds import adaptive_ring_background, ring_background
from xonoff.errors import SchemaError
from xonoff.exclusion import above_threshold, dilated, exclusion_mask
from xonoff.masks import from_regions

RING = partial(ring_background, r_in=0.5, width=0.3)
SOURCE = SkyCoord(83.633, 22.014, unit="deg")
SECOND = SkyCoord(84.35, 22.014, unit="deg")  # in the ring of the first


def circle(center: SkyCoord, radius: float) -> CircleSkyRegion:
    return CircleSkyRegion(center, radius * u.deg)


def with_two_sources(ds: xr.Dataset, counts: int = 40) -> xr.Dataset:
    """A second source beside that of the tutorial, in all energies."""
    rows, columns = np.nonzero(from_regions(ds, circle(SECOND, 0.16)).values[0])
    changed = ds.counts.copy(deep=True)
    changed[:, rows, columns] = changed.values[:, rows, columns] + counts
    return ds.assign(counts=changed)


def test_both_sources_are_found_and_left_out(ds):
    two = with_two_sources(ds)
    mask = exclusion_mask(two, RING, dilation="0.25 deg")
    for center in (SOURCE, SECOND):
        assert from_regions(ds, circle(center, 0.2)).isel(energy=0).where(~mask, drop=False).sum() == 0
    assert not mask.where(~from_regions(ds, [circle(SOURCE, 0.75), circle(SECOND, 0.75)]).isel(energy=0), False).any()
    assert mask.attrs == {"iterations": mask.attrs["iterations"], "converged": 1}
    assert mask.dims == ds.onoff.sky_dims
    assert mask.dtype == bool


def test_the_excess_of_a_source_beside_another_is_right_only_with_the_mask(ds):
    two = with_two_sources(ds)
    near = from_regions(ds, circle(SOURCE, 0.2)) & ds.mask_safe
    true = ds.onoff.excess.where(near).sum()
    with_mask = RING(two, exclusion=exclusion_mask(two, RING)).onoff.excess.where(near).sum()
    without = RING(two).onoff.excess.where(near).sum()
    assert abs(float(with_mask / true) - 1) < 0.05
    assert float(without / true) < 0.9


def test_the_mask_is_a_fixed_point(ds):
    mask = exclusion_mask(ds, RING)
    again = exclusion_mask(ds, lambda ds, exclusion: RING(ds, exclusion=exclusion | mask.values), start=mask)
    assert np.array_equal(again, mask)
    assert again.attrs["iterations"] == 1


def test_nothing_is_left_out_where_there_is_no_source(ds):
    rng = np.random.default_rng(1)
    flat = ds.assign(counts=ds.counts.copy(data=rng.poisson(ds.acceptance).astype(np.float32)))
    mask = exclusion_mask(flat, RING)
    assert not mask.any()
    assert mask.attrs == {"iterations": 1, "converged": 1}


def test_what_is_left_out_from_the_start_stays_out(ds):
    corner = circle(SkyCoord(82.5, 21.0, unit="deg"), 0.3)
    mask = exclusion_mask(ds, RING, start=[corner])
    assert (mask | ~from_regions(ds, corner).isel(energy=0)).all()
    bins = from_regions(ds, corner)
    xr.testing.assert_identical(exclusion_mask(ds, RING, start=bins), mask)


def test_other_backgrounds_do_as_well(ds):
    adaptive = partial(adaptive_ring_background, r_in=0.4, width=0.2, r_max=1.2, step=0.1, threshold=0.02, fixed="r_in")
    mask = exclusion_mask(ds, adaptive)
    assert mask.sel(lat=22.014, lon=83.633, method="nearest")
    fixed = exclusion_mask(ds, lambda ds, exclusion: ds)  # one that is known, whose off counts are correlated too
    assert fixed.sel(lat=22.014, lon=83.633, method="nearest")


def test_too_few_iterations_are_told(ds):
    mask = exclusion_mask(ds, RING, max_iterations=1)
    assert mask.attrs == {"iterations": 1, "converged": 0}
    assert mask.any()


def test_masks_that_come_back_by_turns_are_joined(ds):
    bright = ds.assign(counts=ds.counts + 100 * from_regions(ds, circle(SECOND, 0.1)))
    seen = []

    def by_turns(_: xr.Dataset, exclusion: np.ndarray) -> xr.Dataset:
        seen.append(exclusion.any())
        return bright if len(seen) % 2 else ds

    mask = exclusion_mask(ds, by_turns, dilation=0.1)
    assert mask.attrs["converged"] == 1
    assert mask.sel(lat=SECOND.dec.deg, lon=SECOND.ra.deg, method="nearest")
    assert len(seen) == 3


def test_a_lazy_dataset_gives_the_same(ds, lazy):
    xr.testing.assert_equal(
        exclusion_mask(lazy, RING).drop_vars(["lat", "lon"]), exclusion_mask(ds, RING).drop_vars(["lat", "lon"])
    )


# -- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["CAR at high latitude", "CAR to the pole", "CAR of the whole sky", "TAN of wide pixels"]
)
def test_dilation_is_by_true_angle(name):
    sky = GRIDS[name]
    mask = np.random.default_rng(0).random(sky.shape) < 0.02
    radius = 3.3 * sky.pixel_scales[0]
    near = (distances(sky)[mask.ravel()] <= radius).any(axis=0).reshape(sky.shape)
    assert np.array_equal(dilated(mask, sky, radius), near)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_hysteresis_keeps_what_is_joined_to_a_high_pixel(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(1.5, 2.0, (12, 15))
    values[rng.random(values.shape) < 0.05] = np.nan
    found = above_threshold(values, 4.0, 2.5)
    grown = values > 4.0
    for _ in range(200):  # one pixel a step
        padded = np.pad(grown, 1)
        views = [padded[1 + y : 13 + y, 1 + x : 16 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)]
        grown = np.logical_or.reduce(views) & (values > 2.5)
    assert np.array_equal(found, grown)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 2.0}, "threshold_low <= threshold"),
        ({"threshold": np.nan}, "threshold_low <= threshold"),
        ({"threshold": None}, "None found"),
        ({"background": 3}, "background: int found"),
        ({"max_iterations": 0}, "max_iterations: 0 found"),
        ({"max_iterations": 2.5}, "max_iterations: 2.5 found"),
        ({"dilation": "1 TeV"}, "deg"),
        ({"start": "none"}, "exclusion: str found"),
    ],
)
def test_what_makes_no_mask_is_refused(ds, options, message):
    with pytest.raises(SchemaError, match=message):
        exclusion_mask(ds, **{"background": RING} | options)
