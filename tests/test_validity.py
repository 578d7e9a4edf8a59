import numpy as np
import pytest
import xarray as xr

import xonoff
from xonoff import validity
from xonoff.schema import VARIABLES, faults


def test_the_tutorial_dataset_is_valid(ds: xr.Dataset) -> None:
    assert faults(ds) == []
    xonoff.validate(ds)
    assert int(ds.onoff.info().invalid.sum()) == 0


def test_all_faults_are_told_at_once(ds: xr.Dataset) -> None:
    bad = ds.drop_vars("energy_bounds").drop_attrs(deep=False)
    bad["exposure"].attrs["units"] = "cm2 s"
    bad["mask_safe"] = bad["mask_safe"].astype(int)
    bad = bad.assign_coords(x=("lon", np.r_[np.arange(39), 99]))
    bad["counts_off"] = bad["counts_off"].transpose("lat", "lon", "energy")
    bad["psf"] = bad["psf"].isel(rad=0, drop=True)
    bad = bad.drop_vars("gti_stop")
    with pytest.raises(xonoff.SchemaError) as raised:
        xonoff.validate(bad)
    message = str(raised.value)
    for part in (
        "energy: coordinate 'energy_bounds' is missing",
        "exposure: units 'cm2 s' found, 'm2 s' accepted",
        "mask_safe: dtype int64 found, bool accepted",
        "pixel labels x are not evenly spaced",
        "counts_off: dims ('lat', 'lon', 'energy') found",
        "psf: dims",
        "gti_start: gti_start and gti_stop go together",
    ):
        assert part in message
    assert message.count("\n- ") == 7


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_a_variable_without_units_or_with_other_dims_is_told(ds: xr.Dataset, name: str) -> None:
    if name not in ds:
        ds[name] = ds["mask_safe"] if VARIABLES[name].kind == "b" else ds["counts"]
    assert faults(ds) == []
    wrong = ds.assign({name: ds[name].expand_dims("run")})
    assert any(fault.startswith(f"{name}: dims ('run',") for fault in faults(wrong))
    if VARIABLES[name].units:
        ds[name].attrs = {}
        assert any(fault.startswith(f"{name}: units None found") for fault in faults(ds))


@pytest.mark.parametrize(
    ("edges", "message"),
    [([[1, 2], [3, 2.5]], "increasing"), ([[0, 2], [2, 3]], "positive"), ([[np.nan, 2], [2, 3]], "finite")],
)
def test_bad_energy_bounds(ds: xr.Dataset, edges: list[list[float]], message: str) -> None:
    part = ds.isel(energy=[0, 1])
    part["energy_bounds"] = (("energy", "bounds"), edges, {"units": "TeV"})
    with pytest.raises(xonoff.SchemaError, match=message):
        xonoff.validate(part)


def test_reasons_in_order(ds: xr.Dataset) -> None:
    ds = ds.isel(lat=slice(18, 22), lon=slice(18, 22)).copy(deep=True)
    ds["counts"][0, 0, 0] = np.nan
    ds["counts_off"][0, 0, 1] = -1
    ds["acceptance_off"][0, 0, 2] = 0
    ds["acceptance_off"][0, 0, 3] = -2
    ds["acceptance"][1, 0, 0] = np.inf
    ds["mask_safe"][2, 0, 0] = False
    ds["acceptance_off"][2, 0, 0] = 0  # outside the mask: nothing wrong
    codes = validity.reason(ds)
    names = list(validity.REASONS)
    assert [names[c] for c in codes.values[0, 0]] == ["not_finite", "negative", "no_off_exposure", "no_off_exposure"]
    assert names[int(codes[1, 0, 0])] == "not_finite"
    assert int(codes[2, 0, 0]) == 0
    assert dict(zip(validity.invalid(ds).reason.values, validity.invalid(ds).values, strict=True)) == {
        "mask_fault": 0,
        "not_finite": 2,
        "negative": 1,
        "no_off_exposure": 2,
    }
    assert codes.attrs["flag_meanings"].split() == names


def test_a_dataset_without_masks_or_off_counts(ds: xr.Dataset) -> None:
    bare = ds.drop_vars(set(ds.data_vars) - {"counts"})
    xonoff.validate(bare)
    assert int(bare.onoff.info().n_bins_mask) == bare.counts.size
    assert float(bare.onoff.info().counts) == float(bare.counts.sum())


def test_the_name_of_the_accessor_is_reserved(ds: xr.Dataset) -> None:
    assert any("accessor" in fault for fault in faults(ds.assign(onoff=1)))


def test_what_cannot_be_seen_in_the_counts(ds: xr.Dataset) -> None:
    """Faults of the response, the livetime, the intervals and the axis."""
    cases = {
        "exposure: 1 values": ds.copy(deep=True),
        "gti_stop: an interval ends": ds.assign_coords(gti_stop=ds.gti_start - np.timedelta64(1, "s")),
        "livetime: float64 in 'h' found": ds.assign_coords(livetime=("obs", [1.0, 2.0], {"units": "h"})),
        "livetime: a value is negative": ds.assign_coords(livetime=("obs", [1.0, -2.0], {"units": "s"})),
        "energy: centres found outside": ds.assign_coords(energy=("energy", ds.energy.values * 7, ds.energy.attrs)),
        "energy_bounds: the bins do not adjoin": ds.isel(energy=slice(None, None, 2)),
        "energy: the axis is missing": xr.Dataset(),
    }
    cases["exposure: 1 values"].exposure[0, 0, 0] = np.nan
    for message, case in cases.items():
        with pytest.raises(xonoff.SchemaError, match=message):
            xonoff.validate(case)
        assert "fault" in repr(case.onoff) or "exposure" in message or "missing" in message
    with pytest.raises(xonoff.SchemaError, match="NoneType found"):
        xonoff.validate(None)


def test_a_coarsened_energy_axis_is_refused(ds: xr.Dataset) -> None:
    coarse = ds.drop_vars("mask_safe").coarsen(energy=2).sum()
    with pytest.raises(xonoff.GeometryError, match="do not adjoin"):
        _ = coarse.onoff.energy_range


def test_a_background_template_is_checked_and_summed(ds: xr.Dataset) -> None:
    template = ds.drop_vars(["counts_off", "acceptance", "acceptance_off"])
    template["background"] = ds.onoff.background.astype("f4")
    template.background[3, 20, 20] = -99
    template.counts[3, 20, 21] = -1000
    totals = template.onoff.info()
    assert int(totals.invalid.sel(reason="negative")) == 2
    assert float(totals.counts) > 0
    np.testing.assert_allclose(
        totals.background, template.background.where(ds.mask_safe & (template.background >= 0)).sum()
    )


def test_a_spectrum_of_acceptance_beside_cubes(ds: xr.Dataset) -> None:
    mixed = ds.assign(acceptance=ds.acceptance.isel(lat=20, lon=20, drop=True))
    assert int(mixed.onoff.info().invalid.sum()) == 0
    assert mixed.onoff.excess.dims == ds.counts.dims
