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
