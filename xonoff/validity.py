"""Which bins of a dataset can be trusted, why the others cannot, and the check of a whole dataset."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import SchemaError
from xonoff.geometry import sky_faults
from xonoff.quantities import ON_OFF, like_counts, mask
from xonoff.schema import MASKS, VARIABLES, faults

__all__ = ["REASONS", "invalid", "reason", "validate"]

CUBES = (*ON_OFF, "background")

#: Why a bin is invalid; the position in this table is the value in `reason`, the first that fits counts.
REASONS = {
    "valid": "nothing is wrong",
    "mask_fault": "a mask is neither 0 nor 1",
    "not_finite": "counts, acceptances or the background are NaN or infinite",
    "negative": "counts, the on acceptance or the background are below 0",
    "no_off_exposure": "the off acceptance is not above 0, within the masks",
}

#: Faults that an error lists: those that a screen holds.
MOST = 15


def reason(ds: xr.Dataset) -> xr.DataArray:
    """Why each bin is invalid, as a position in `REASONS`; 0 for a valid one.

    Missing off exposure counts within the masks only: outside, it is what one expects.

    Returns
    -------
    DataArray (energy, sky), uint8
        With the flags spelled out in ``attrs`` as CF has it.
    """
    inside = mask(ds)
    present = [name for name in CUBES if name in ds]
    masks = [name for name in (*MASKS, "mask_fault") if name in ds]
    variables = [ds[name].variable for name in (*present, *masks)]
    codes = xr.apply_ufunc(
        _codes,
        inside.variable,
        *variables,
        kwargs={"names": (*present, *masks)},
        dask="parallelized",
        output_dtypes=[np.uint8],
    )
    flags = {"flag_values": np.arange(len(REASONS), dtype=np.uint8), "flag_meanings": " ".join(REASONS)}
    return like_counts(ds, codes, "reason", flags)


def invalid(ds: xr.Dataset) -> xr.DataArray:
    """Return the number of invalid bins by reason, on the dimension ``reason``."""
    codes = reason(ds).variable
    names = list(REASONS)[1:]
    numbers = [(codes == number).sum(dtype=np.int64) for number in range(1, len(REASONS))]
    counts = xr.Variable.concat(numbers, "reason")
    counts.attrs = {"units": "1"}
    return xr.DataArray(counts, coords={"reason": names}, name="invalid")


def validate(ds: xr.Dataset) -> None:
    """Check a dataset against the data model, structure and values; reads all of it.

    Parameters
    ----------
    ds : Dataset

    Raises
    ------
    SchemaError
        With every fault found: wrong dimensions, units or coordinates, a broken WCS, invalid bins by reason.

    Examples
    --------
    >>> import xonoff
    >>> xonoff.validate(xonoff.tutorial.dataset())
    """
    if not isinstance(ds, xr.Dataset):
        raise SchemaError(f"a {type(ds).__name__} found, an xarray.Dataset accepted")
    found = [*faults(ds), *sky_faults(ds)]
    if "energy" not in ds.dims:
        found.append("energy: the axis is missing: build it with xonoff.axes.axis_coords")
    if not found:
        found = [*_bin_faults(ds), *_response_faults(ds)]
    if found:
        name = ds.attrs.get("name", "")
        rows = [*found[:MOST], f"and {len(found) - MOST} more"] if len(found) > MOST + 1 else found
        raise SchemaError(f"dataset {name!r} has {len(found)} faults:\n" + "\n".join(f"- {row}" for row in rows))


def _bin_faults(ds: xr.Dataset) -> Iterator[str]:
    if any(name in ds for name in CUBES):
        counts = invalid(ds).compute()
        for name, n in zip(counts["reason"].values, counts.values, strict=True):
            if n:
                yield f"{int(n)} bins: {REASONS[str(name)]} ({name}): mask or mend them, ds.onoff.info() counts them"


def _response_faults(ds: xr.Dataset) -> Iterator[str]:
    for name, variable in VARIABLES.items():
        if variable.axes != (("energy",),) and name in ds:
            values = ds.variables[name]
            bad = int((~((values >= 0) & (values < np.inf))).sum())
            if bad:
                yield f"{name}: {bad} values are negative or not finite: set them to 0"


def _codes(inside: npt.NDArray[np.bool_], *arrays: npt.NDArray[Any], names: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    codes = np.zeros(inside.shape, dtype=np.uint8)
    values = dict(zip(names, np.broadcast_arrays(inside, *arrays)[1:], strict=True))
    positions = {name: number for number, name in enumerate(REASONS)}
    for name, array in values.items():  # from the least to the most telling reason, which has the last word
        if name == "acceptance_off":
            codes[inside & ~(array > 0)] = positions["no_off_exposure"]
    for name in ("counts", "counts_off", "acceptance", "background"):
        if name in values:
            codes[values[name] < 0] = positions["negative"]
    for name in CUBES:
        if name in values and values[name].dtype.kind == "f":
            codes[~np.isfinite(values[name])] = positions["not_finite"]
    for name in MASKS:
        if name in values and values[name].dtype != bool:
            codes[(values[name] != 0) & (values[name] != 1)] = positions["mask_fault"]
    if "mask_fault" in values:
        codes[values["mask_fault"].astype(bool)] = positions["mask_fault"]
    return codes
