"""Reflected regions: laws on the sphere, sums against brute force, what is excluded, and where no region is found."""

import warnings

import dask
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from datasets import lazy, make, projections, seeds, unrecorded
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from regions import (
    CirclePixelRegion,
    CircleSkyRegion,
    EllipseSkyRegion,
    PixCoord,
    PolygonSkyRegion,
    RectangleSkyRegion,
    Regions,
)
from strategies import separation

import xonoff
from xonoff import masks, reflected_regions, reflected_spectrum
from xonoff.observations import pointing as pointing_of
from xonoff.outlines import overlap
from xonoff.region import region_mask

DEG = u.deg
SOURCE = SkyCoord(83.63, 22.01, unit="deg")
WOBBLE = SkyCoord(83.63, 22.51, unit="deg")
ON = CircleSkyRegion(SOURCE, 0.1 * DEG)
NONE = pytest.warns(xonoff.NoOffRegionsWarning)


def lonlat(position):
    return np.asarray(position.spherical.lon.deg), np.asarray(position.spherical.lat.deg)


def flat(*, projection="TAN", center=(83.63, 22.4), pixel_size=0.05, width=4.0, counts=1.0, **variables):
    """A map of one and the same number of counts in each bin."""
    geom = xonoff.Geom.create(center, width=width, pixel_size=pixel_size, projection=projection, energy=[1, 2, 4])
    values = {"counts": counts, **variables}
    ds = xr.Dataset({n: (geom.dims, np.broadcast_to(v, geom.shape).copy(), {"units": "1"}) for n, v in values.items()})
    return ds.assign_coords(geom.coords()).assign_attrs(name="flat")


# -- where they are ---------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    pointing=st.sampled_from([(0.0, 90.0), (0.0, -90.0), (10.0, 89.9), (0.001, 0.0), (359.99, 40.0)])
    | st.tuples(st.floats(0, 360), st.floats(-90, 90)),
    away=st.floats(0.05, 20),
    share=st.floats(0.03, 0.99),
    direction=st.floats(0, 360),
    distance=st.floats(0, 30),
    distance_on=st.floats(0, 60),
    frame=st.sampled_from(["icrs", "galactic"]),
)
def test_circles_keep_their_offset_and_do_not_overlap(pointing, away, share, direction, distance, distance_on, frame):
    axis = SkyCoord(*pointing, unit="deg", frame=frame)
    region = CircleSkyRegion(axis.directional_offset_by(direction * DEG, away * DEG), away * share * DEG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xonoff.NoOffRegionsWarning)
        off = reflected_regions(region, axis, min_distance=distance, min_distance_on=distance_on)
    everything = [region, *off]
    for other in off:
        offsets = [separation(lonlat(axis), lonlat(r.center)) for r in (region, other)]
        np.testing.assert_allclose(*offsets, rtol=0, atol=1e-10)
    least = 2 * np.degrees(2 * np.sin(np.radians(away * share) / 2))
    for i, a in enumerate(everything):
        for b in everything[:i]:
            chord = separation(lonlat(a.center), lonlat(b.center))
            exact = 2 * np.degrees(np.sin(np.radians(away * share)))  # the chord of two circles that touch
            assert chord >= exact - 1e-9 * max(least, 1)
    width = 2 * np.degrees(np.arcsin(np.sin(np.radians(away * share)) / np.sin(np.radians(away))))
    room = 360 - 2 * (width + distance + distance_on)
    expected = int(room / (width + distance)) + 1 if room >= 0 else 0
    edge = room / (width + distance) % 1
    assert len(off) == expected or min(edge, 1 - edge) < 1e-6 or abs(room) < 1e-6


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_wobble_regions_lie_evenly(n):
    off = reflected_regions(ON, WOBBLE, number=n)
    angles = [WOBBLE.position_angle(r.center).deg for r in [ON, *off]]
    np.testing.assert_allclose(np.diff(angles) % 360, 360 / (n + 1), rtol=1e-9)


def test_too_many_wobble_regions_are_none():
    with pytest.warns(xonoff.NoOffRegionsWarning, match=r"40 off regions would overlap: take up to 14"):
        assert reflected_regions(ON, WOBBLE, number=40) == []
    assert len(reflected_regions(ON, WOBBLE, number=14)) == 14


def test_no_more_than_the_maximum_and_in_order():
    every = reflected_regions(ON, WOBBLE)
    some = reflected_regions(ON, WOBBLE, max_number=3)
    assert [r.center.to_string() for r in some] == [r.center.to_string() for r in every[:3]]
    assert every[0].center.ra < SOURCE.ra  # position angles grow from south to west
    assert len(reflected_regions(ON, WOBBLE, min_distance="30 deg")) < len(every)
    assert len(reflected_regions(ON, WOBBLE, min_distance_on=0)) >= len(every)


@pytest.mark.parametrize(
    "region",
    [
        EllipseSkyRegion(SOURCE, 0.5 * DEG, 0.2 * DEG, 30 * DEG),
        RectangleSkyRegion(SOURCE, 0.4 * DEG, 0.15 * DEG, 70 * DEG),
        PolygonSkyRegion(SkyCoord([83.5, 83.8, 83.6], [21.9, 21.95, 22.2], unit="deg")),
        ON | CircleSkyRegion(SkyCoord(83.8, 22.0, unit="deg"), 0.08 * DEG),
    ],
)
def test_other_shapes_do_not_overlap_and_hold_the_same_pixels(region):
    axis = SkyCoord(83.63, 22.71, unit="deg")
    off = reflected_regions(region, axis)
    assert len(off) > 3
    everything = [region, *off]
    sky = flat(pixel_size=0.01, width=2.4, center=(83.63, 22.71)).onoff.geom.sky
    covered = [region_mask(r, sky).astype(int) for r in everything]
    assert sum(covered).max() == 1
    areas = [(mask * sky.solid_angle()).sum() for mask in covered]
    np.testing.assert_allclose(areas[1:], areas[0], rtol=0.03)
    assert not any(overlap(a, b) for i, a in enumerate(everything) for b in everything[:i])


@settings(max_examples=25, deadline=None)
@given(lon=st.floats(82.9, 84.3), lat=st.floats(21.9, 23.1), radius=st.floats(0.01, 0.5), as_map=st.booleans())
def test_nothing_of_an_off_region_is_excluded(lon, lat, radius, as_map):
    bad = CircleSkyRegion(SkyCoord(lon, lat, unit="deg"), radius * DEG)
    ds = flat()
    exclusion = masks.from_regions(ds, [bad]) if as_map else bad
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xonoff.NoOffRegionsWarning)
        off = reflected_regions(ON, WOBBLE, exclusion)
    for region in off:
        if as_map:
            assert not (region_mask(region, ds.onoff.geom.sky) & exclusion.values[0]).any()
        else:
            assert region.center.separation(bad.center).deg >= 0.1 + radius - 1e-9
    assert as_map or len(off) <= len(reflected_regions(ON, WOBBLE)) + 1


def test_regions_smaller_than_a_pixel_of_the_exclusion():
    ds = flat(pixel_size=0.4)
    excluded = xr.zeros_like(ds.counts, dtype=bool)
    column, row = (int(np.round(float(p))) for p in ds.onoff.geom.sky.sky_to_pixel((83.63, 23.01)))
    excluded[0, row, column] = True
    small = CircleSkyRegion(SOURCE, 0.02 * DEG)
    free, left = (reflected_regions(small, WOBBLE, e, increment="0.01 rad") for e in (None, excluded))
    assert 0 < len(left) < len(free)
    for region in left:
        x, y = ds.onoff.geom.sky.sky_to_pixel(region.center)
        assert (round(float(y)), round(float(x))) != (row, column)


def test_a_list_of_the_package_and_a_pointing_of_one_row():
    bad = CircleSkyRegion(SkyCoord(83.63, 23.01, unit="deg"), 0.2 * DEG)
    rows = SkyCoord([83.63], [22.51], unit="deg")
    found = reflected_regions(ON, rows, Regions([bad]))
    assert [r.center.to_string() for r in found] == [r.center.to_string() for r in reflected_regions(ON, WOBBLE, bad)]


def test_an_exclusion_on_another_grid_and_in_one_energy():
    ds = flat()
    other = flat(projection="CAR", center=(83.2, 22.5), pixel_size=0.03)
    bad = CircleSkyRegion(SkyCoord(83.63, 23.01, unit="deg"), 0.2 * DEG)
    mask = masks.from_regions(other, bad).copy()
    mask[1] = False
    spectrum = reflected_spectrum(ds, ON, WOBBLE, mask)
    assert set(parsed(spectrum)) == set(parsed(reflected_spectrum(ds, ON, WOBBLE, [bad])))
    image = mask.isel(energy=0, drop=True)
    assert set(parsed(reflected_spectrum(ds, ON, WOBBLE, image.T))) == set(parsed(spectrum))


def parsed(spectrum):
    texts = [text for text in str(spectrum.region_off.values).split(" or ") if text]
    return {tuple(np.round(lonlat(Regions.parse(text, format="ds9")[0].center), 6)): text for text in texts}


def test_regions_off_the_map_are_left_out():
    ds = flat(center=(83.63, 22.2), width=1.0)  # up to 22.7
    off = reflected_regions(ON, WOBBLE, sky=ds.onoff.geom.sky)
    assert 0 < len(off) < len(reflected_regions(ON, WOBBLE))
    for region in off:
        region_mask(region, ds.onoff.geom.sky)
        assert region.center.dec.deg < 22.7 - 0.1 + 0.03


# -- spectra ----------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    seed=seeds, projection=projections, radius=st.floats(0.06, 0.12), away=st.floats(0.14, 0.2),
    direction=st.floats(0, 360), on_dask=st.booleans(), kind=st.sampled_from(["acceptance", "background", "area"]),
)  # fmt: skip
def test_sums_against_brute_force(seed, projection, radius, away, direction, on_dask, kind):
    ds = make(seed, projection)
    axis = SkyCoord(83.6, 22.0, unit="deg")
    if kind != "acceptance":
        ds = ds.onoff.to_map_dataset()
    region = CircleSkyRegion(axis.directional_offset_by(direction * DEG, away * DEG), radius * DEG)
    sky = ds.onoff.geom.sky
    try:
        on = region_mask(region, sky)
    except xonoff.GeometryError:
        assume(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xonoff.NoOffRegionsWarning)
        found = reflected_spectrum(lazy(ds) if on_dask else ds, region, axis, weights=kind, min_distance_on=0)
        regions = reflected_regions(region, axis, sky=sky, min_distance_on=0)
    assert (found.counts_off.chunks is not None) == on_dask
    off = np.zeros(sky.shape, bool)
    for other in regions:
        off |= sky.skycoord().separation(other.center).deg < radius
    assert not (off & on).any()
    safe = ds.mask_safe.values
    weight = sky.solid_angle()[None] / sky.solid_angle()[on].sum() if kind == "area" else ds[kind].values
    sums = {}
    for name, mask in (("on", on), ("off", off)):
        used = safe & mask
        sums[name] = np.where(used, ds.counts, 0).sum((1, 2)), np.where(used, weight, 0).sum((1, 2))
    np.testing.assert_array_equal(found.counts, sums["on"][0])
    np.testing.assert_array_equal(found.counts_off, sums["off"][0])
    np.testing.assert_allclose(found.acceptance, sums["on"][1], rtol=1e-12)
    np.testing.assert_allclose(found.acceptance_off, sums["off"][1], rtol=1e-12)
    np.testing.assert_array_equal(found.mask_safe, (safe & on).any((1, 2)) & (sums["off"][1] > 0))
    fit = (safe & on & ds.mask_fit.values).any((1, 2)) & (sums["off"][1] > 0)
    np.testing.assert_array_equal(found.mask_fit, fit)
    same = ds.onoff.to_spectrum(region)
    for name in ("exposure", "edisp", "lat", "lon", "region", "livetime", "gti_start"):
        xr.testing.assert_allclose(found[name].variable.compute(), same[name].variable, rtol=1e-12)
    xonoff.validate(found.compute())


def test_a_radial_acceptance_has_no_bias():
    """Counts equal to the acceptance, which falls with the offset: the background is right, area alone is not."""
    ds = flat(width=5.0)
    offset = ds.onoff.geom.sky.skycoord().separation(WOBBLE).deg
    rate = np.exp(-0.5 * (offset / 0.4) ** 2)
    tilt = ds.assign(counts=ds.counts * rate, background=ds.counts * rate)
    found = reflected_spectrum(tilt, ON, WOBBLE)
    np.testing.assert_allclose(found.onoff.excess, 0, atol=1e-9)
    near = CircleSkyRegion(SkyCoord(83.63, 23.2, unit="deg"), 0.1 * DEG)  # at another offset
    other = [xonoff.on_off_spectrum(tilt, ON, [near], weights=w).onoff.excess.values for w in (None, "area")]
    np.testing.assert_allclose(other[0], 0, atol=1e-9)
    assert (np.abs(other[1]) > 1).all()


def test_a_flat_field_by_area_and_by_number():
    ds = flat()
    n = len(reflected_regions(ON, WOBBLE))
    area, number = (reflected_spectrum(ds, ON, WOBBLE, weights=w) for w in (None, "number"))
    np.testing.assert_allclose(area.onoff.excess, 0, atol=1e-3)  # counts a pixel, not a solid angle
    np.testing.assert_allclose(area.acceptance, 1, rtol=1e-14)
    np.testing.assert_allclose(area.acceptance_off, n, rtol=0.1)
    np.testing.assert_array_equal(number.onoff.alpha, 1 / n)


def test_masks_that_depend_on_energy_and_invalid_bins():
    ds = flat(acceptance=2.0)
    offset = ds.onoff.geom.sky.skycoord().separation(WOBBLE).deg
    north = ds.onoff.geom.sky.skycoord().dec.deg > 22.51
    ds["mask_safe"] = ds.counts.dims, np.stack([(offset < 2) & north | (offset > 0.45) & ~north, np.zeros_like(north)])
    found = reflected_spectrum(ds, ON, WOBBLE)
    np.testing.assert_array_equal(found.mask_safe, [True, False])
    np.testing.assert_allclose(found.onoff.background.values[0], found.counts.values[0])
    assert np.isnan(found.onoff.alpha.values[1])
    for name in ("counts", "acceptance"):
        holes = ds.copy(deep=True)
        x, y = (round(float(p)) for p in ds.onoff.geom.sky.sky_to_pixel((83.63, 23.01)))
        holes[name][0, y, x] = np.nan
        less = reflected_spectrum(holes, ON, WOBBLE)
        assert less.counts_off.values[0] == found.counts_off.values[0] - 1
        assert less.acceptance_off.values[0] == found.acceptance_off.values[0] - 2
        xonoff.validate(less)


def test_where_no_region_is_found_bins_are_masked_and_the_reason_is_told(tmp_path):
    ds = flat(acceptance=1.0).assign_coords(livetime=("obs", [10.0], {"units": "s"}))
    reasons = {
        "holds or surrounds the pointing": {"pointing": SOURCE},
        "leaves no room": {"pointing": WOBBLE, "min_distance_on": "170 deg"},
        r"\d+ touch what is excluded": {"pointing": WOBBLE, "exclusion": CircleSkyRegion(WOBBLE, 1 * DEG)},
        r"\d+ reach off the map": {"pointing": SkyCoord(83.63, 20.5, unit="deg"), "number": 1},
        "would overlap": {"pointing": WOBBLE, "number": 99},
    }
    for reason, given_ in reasons.items():
        with pytest.warns(xonoff.NoOffRegionsWarning, match=f"'flat': no off region found.*{reason}"):
            found = reflected_spectrum(ds, ON, **given_)
        assert not found.mask_safe.any()
        assert np.isnan(found.onoff.alpha).all()
        assert (found.counts > 0).all()
        assert str(found.region_off.values) == ""
        xonoff.validate(found)
        assert float(found.onoff.stat_sum()) == 0
    good = reflected_spectrum(ds, ON, WOBBLE)
    both = xonoff.stack([good, found])  # it adds nothing
    np.testing.assert_array_equal(both.counts, good.counts)
    np.testing.assert_allclose(both.onoff.alpha, good.onoff.alpha)
    found.onoff.to_ogip(tmp_path / "pha_none.fits")
    assert not xonoff.open_dataset(tmp_path / "pha_none.fits").mask_safe.any()


def test_the_regions_are_kept_and_travel(tmp_path, ds):
    on = CircleSkyRegion(SkyCoord(83.633, 22.014, unit="deg"), 0.25 * DEG)
    axis = SkyCoord(83.633, 22.814, unit="deg")
    spectrum = reflected_spectrum(ds, on, axis, containment_correction=True)
    off = reflected_regions(on, axis, sky=ds.onoff.geom.sky)
    assert set(parsed(spectrum)) == {tuple(np.round(lonlat(r.center), 6)) for r in off}
    corrected = ds.onoff.to_spectrum(on, containment_correction=True)
    xr.testing.assert_identical(spectrum.exposure.drop_vars("region_off"), corrected.exposure)
    spectrum.onoff.to_ogip(tmp_path / "pha_crab.fits")
    back = xonoff.open_dataset(tmp_path / "pha_crab.fits")
    for name in ("counts", "counts_off", "acceptance", "acceptance_off", "mask_safe", "region", "region_off", "lon"):
        np.testing.assert_array_equal(back[name], spectrum[name], err_msg=name)
    assert float(back.onoff.stat_sum()) == pytest.approx(float(spectrum.onoff.stat_sum()), rel=1e-12)
    spectrum.onoff.to_netcdf(tmp_path / "a.nc")
    assert str(xonoff.open_dataset(tmp_path / "a.nc").region_off.values) == str(spectrum.region_off.values)
    again = xonoff.stack([spectrum, spectrum])
    assert str(again.region_off.values) == str(spectrum.region_off.values)
    compound = on | CircleSkyRegion(SkyCoord(83.9, 22.0, unit="deg"), 0.1 * DEG)
    text = str(reflected_spectrum(ds, compound, axis, number=2).region_off.values)
    assert text.count("(icrs;circle") == 4
    assert ")) or ((" in text


def test_one_pixel_regions_and_one_pixel_wide_maps():
    ds = flat(acceptance=1.0)
    sky = ds.onoff.geom.sky
    tiny = CircleSkyRegion(SkyCoord(*(float(a) for a in sky.pixel_to_sky(40, 40)), unit="deg"), 0.02 * DEG)
    found = reflected_spectrum(ds, tiny, SkyCoord(83.63, 22.8, unit="deg"))
    assert found.counts.values.tolist() == [1, 1]
    np.testing.assert_array_equal(found.onoff.background, 1)
    with NONE:
        assert not reflected_spectrum(ds.isel(y=[40], x=[40]), tiny, WOBBLE).mask_safe.any()


def test_the_pointing_of_the_dataset():
    ds = flat(acceptance=1.0)
    one = ds.assign_coords(ra_pnt=("obs", [83.63], {"units": "deg"}), dec_pnt=("obs", [22.51], {"units": "deg"}))
    own = reflected_spectrum(one, ON).drop_vars(["ra_pnt", "dec_pnt"])
    xr.testing.assert_identical(unrecorded(own), unrecorded(reflected_spectrum(ds, ON, (83.63, 22.51))))
    twice = ds.assign_coords(ra_pnt=("obs", [83.63, 83.63]), dec_pnt=("obs", [22.51, 22.51 + 1e-5]))
    assert pointing_of(twice).dec.deg == 22.51
    several = ds.assign_coords(ra_pnt=("obs", [83.63, 83.63]), dec_pnt=("obs", [22.51, 21.51]))
    with pytest.raises(xonoff.GeometryError, match=r"2 observations up to 1 deg apart found.*stack the spectra"):
        reflected_spectrum(several, ON)
    for bad in (ds, one.drop_vars("dec_pnt"), one.assign_coords(ra_pnt=("obs", [np.nan]))):
        with pytest.raises(xonoff.SchemaError, match=r"does not tell its pointing.*give pointing=SkyCoord"):
            reflected_spectrum(bad, ON)
    with pytest.raises(xonoff.SchemaError, match="'rad' found, 'deg' accepted"):
        reflected_spectrum(one.assign_coords(ra_pnt=("obs", [1.4], {"units": "rad"})), ON)


def test_a_galactic_map_and_a_region_in_icrs():
    geom = xonoff.Geom.create(SOURCE, width=3, pixel_size=0.05, projection="TAN", frame="galactic", energy=[1, 2, 4])
    ds = xr.Dataset({"counts": (geom.dims, np.ones(geom.shape), {"units": "1"})}, geom.coords())
    found = reflected_spectrum(ds, ON, WOBBLE)
    pair = tuple(float(a) for a in lonlat(WOBBLE.galactic))  # two angles are in the frame of the map
    xr.testing.assert_allclose(found, reflected_spectrum(ds, ON, pair))
    assert "icrs" in str(found.region_off.values)


@pytest.mark.parametrize("lat", [89.9, -89.9, 0.0])
@pytest.mark.parametrize("lon", [0.0, 359.99])
def test_a_field_at_a_pole_or_across_longitude_0(lon, lat):
    axis = SkyCoord(lon, lat, unit="deg")
    ds = flat(center=axis, width=3.0)
    region = CircleSkyRegion(axis.directional_offset_by(77 * DEG, 0.6 * DEG), 0.12 * DEG)
    found = reflected_spectrum(ds, region, axis)
    assert len(parsed(found)) == len(reflected_regions(region, axis)) == 14
    # counts a pixel are flat, the acceptance is by solid angle
    np.testing.assert_allclose(found.onoff.excess / found.counts, 0, atol=2e-3)


def test_dask_stays_lazy(no_compute):
    ds = lazy(make(1)).drop_vars("counts_off")
    region = CircleSkyRegion(SkyCoord(83.6, 21.85, unit="deg"), 0.07 * DEG)
    found = reflected_spectrum(ds, region, SkyCoord(83.6, 22.0, unit="deg"), exclusion=[])
    assert all(array.chunks for array in found.data_vars.values())


def test_dask_reads_the_chunks_of_the_regions_only():
    ds = flat(acceptance=1.0).chunk({"y": 10, "x": 10})
    seen = set()

    def note(block, block_id=None):
        seen.add(block_id)
        return block

    ds["counts"] = ds.counts.dims, ds.counts.data.map_blocks(note, dtype=ds.counts.dtype), ds.counts.attrs
    with dask.config.set(scheduler="synchronous"):
        seen.clear()
        found = reflected_spectrum(ds, ON, WOBBLE)
        assert len(seen) <= 1  # dask looks at the dtype
        found.counts_off.compute()
    assert len({place for place in seen if place}) <= 16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: reflected_regions("circle", WOBBLE), "a str found, a sky or pixel region"),
        (lambda ds: reflected_regions(CirclePixelRegion(PixCoord(3, 3), 2), WOBBLE), "use region.to_sky"),
        (lambda ds: reflected_regions(ON, WOBBLE, number=0), "number: 0 found, a whole number of at least 1"),
        (lambda ds: reflected_regions(ON, WOBBLE, max_number=2.5), "max_number: 2.5 found"),
        (lambda ds: reflected_regions(ON, WOBBLE, increment=0), "increment: 0.0 deg found, an angle above 0"),
        (lambda ds: reflected_regions(ON, WOBBLE, min_distance=-1), "min_distance: -1.0 deg found, an angle not"),
        (lambda ds: reflected_regions(ON, WOBBLE, min_distance="1 s"), "'1 s' found"),
        (lambda ds: reflected_regions(ON, WOBBLE, n=3), "option 'n' found, number, max_number"),
        (lambda ds: reflected_regions(ON, WOBBLE, exclusion=np.zeros((3, 3), bool)), "exclusion: a ndarray found"),
        (lambda ds: reflected_regions(ON, WOBBLE, exclusion=ds.counts), "exclusion: float64 on .* a map of bool"),
        (lambda ds: reflected_regions(ON, WOBBLE, exclusion=["a"]), "a str found, a sky or pixel region"),
        (lambda ds: reflected_regions(ON, WOBBLE, exclusion=ds), "exclusion: a Dataset found"),
        (lambda ds: reflected_spectrum(ds.isel(x=3), ON, WOBBLE), "a map with two sky dimensions is wanted"),
        (lambda ds: reflected_spectrum(ds.drop_vars("counts"), ON, WOBBLE), "a map with counts on energy"),
        (lambda ds: reflected_spectrum(ds.isel(energy=0), ON, WOBBLE), r"a map with counts .* \('y', 'x'\) found"),
        (lambda ds: reflected_regions(ON, WOBBLE, sky=ds), "sky: a Dataset found, a SkyGrid accepted"),
        (lambda ds: reflected_spectrum(ds, ON, WOBBLE, weights="acceptance"), "for the map has no acceptance"),
        (lambda ds: reflected_spectrum(ds, ON, WOBBLE, weights="mass"), "'mass' found, 'area' or 'number' accepted$"),
        (lambda ds: reflected_spectrum(ds, CircleSkyRegion(SOURCE, 3 * DEG), SkyCoord(88, 26, unit="deg")), "off the"),
        (lambda ds: xonoff.on_off_spectrum(ds, ON, [ON]), "off region 1, icrs;circle.* pixels of the on region"),
        (lambda ds: reflected_spectrum(ds, ON, SkyCoord([1, 2], [3, 4], unit="deg")), "one position on the sky"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(flat())
