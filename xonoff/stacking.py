"""How each kind of variable is summed over datasets: on/off bins, exposure, PSF, energy dispersion.

A `Rule` holds the running sums of one kind: which arrays, on which dimensions, how a dataset is added, and how the sums
become variables. The functions work on plain arrays, so `xonoff.combine` can apply them to whole maps or to blocks.
What a dataset contributes is made here too: its bins within the mask, and its response weighted by the exposure that
the mask leaves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import SchemaError
from xonoff.geometry import own_grid, sky_dims
from xonoff.irf import edisp_kernel
from xonoff.masks import on_grid
from xonoff.quantities import NEUTRAL, ON_OFF, mask, usable
from xonoff.stats.sums import add_on_off, add_positive, add_weighted, finish_on_off
from xonoff.stats.threads import in_threads

__all__ = ["MASK_SUMS", "Arrays", "Placed", "Rule", "bins_of", "on_off_arrays", "response_arrays", "rules_of"]

Arrays = dict[str, npt.NDArray[Any]]
Dims = tuple[str, ...]
#: Views of the sums, and the arrays of a dataset that are added to them.
Placed = tuple[Arrays, Arrays]

MASK_SUMS = ("mask_safe", "mask_fit", "mask_fault")


@dataclass(frozen=True)
class Rule:
    """Running sums of one kind of variable.

    Attributes
    ----------
    name : str
        "bins", "exposure", "psf" or "edisp".
    grid : str or None
        Its sky grid, as in `xonoff.geometry.sky_dims`; None without sky dimensions.
    sums : dict of str to tuple of str
        Dimensions of each running sum.
    whole : tuple of str
        Dimensions that a block never splits.
    variables : tuple of str
        What comes of it.
    add : callable
        Adds arrays of some datasets to the sums, in place.
    finish : callable
        Variables from sums.
    """

    name: str
    grid: str | None
    sums: dict[str, Dims]
    whole: Dims
    variables: dict[str, Dims]
    add: Callable[[Sequence[Placed]], None]
    finish: Callable[[Arrays], Arrays]

    def zeros(self, sizes: dict[str, int]) -> Arrays:
        """Sums of nothing."""
        sums = {
            name: np.empty([sizes[dim] for dim in dims], bool if name in MASK_SUMS else np.float64)
            for name, dims in self.sums.items()
        }
        # Written at once and by threads: a page of np.zeros that is read before it is written to is mapped twice.
        planes = [array[i : i + 1] for array in sums.values() for i in range(len(array))]
        in_threads(lambda plane: plane.fill(0), planes)
        return sums


def rules_of(ds: xr.Dataset) -> list[Rule]:
    """Rules for the variables of a dataset."""
    rules = []
    cubes = [name for name in (*ON_OFF, "background") if name in ds]
    if cubes:
        dims = ("energy", *map(str, sky_dims(ds)))
        sums = dict.fromkeys((*ON_OFF, *MASK_SUMS, *(["background"] if "background" in ds else [])), dims)
        kept = (*cubes, *MASK_SUMS)
        grid = "" if len(dims) > 1 else None
        finish = partial(_finish_bins, names=kept)
        rules.append(Rule("bins", grid, sums, (), dict.fromkeys(kept, dims), _add_bins, finish))
    if "exposure" in ds:
        grid, sky = _response_sky(ds, "exposure")
        sums = {"exposure": ("energy_true", *sky)}
        rules.append(Rule("exposure", grid, sums, (), sums, _add_exposure, dict))
    return [*rules, *(_response_rule(ds, name) for name in ("psf", "edisp") if name in ds)]


def bins_of(ds: xr.Dataset, *, check: bool) -> xr.Variable:
    """Bins within ``mask_safe``, as an array of their own; with ``check`` those of them that are valid.

    Without, adding the on/off bins narrows the array to the valid ones, so that bins in memory are read once.
    """
    if not any(name in ds for name in (*ON_OFF, "background", "mask_safe")):
        return xr.Variable((), np.True_)
    if check:
        return usable(ds)
    sizes = _bin_sizes(ds)
    within: xr.Variable = mask(ds, "mask_safe").variable.set_dims(sizes).transpose(*sizes).copy()
    return within


def on_off_arrays(ds: xr.Dataset, used: xr.Variable) -> dict[str, xr.Variable]:
    """What a dataset adds to the sums of on/off bins."""
    sizes = _bin_sizes(ds)
    names = [name for name in (*ON_OFF, "background", "mask_fit", "mask_fault") if name in ds]
    return {"used": used, **{name: ds.variables[name].set_dims(sizes).transpose(*sizes) for name in names}}


def response_arrays(ds: xr.Dataset, rule: Rule, used: xr.Variable) -> dict[str, xr.Variable]:
    """What a dataset adds to the sums of exposure, PSF or dispersion, on the grid of these."""
    image = used.any("energy") if used.dims else used
    if rule.name == "exposure":
        exposure = ds.variables["exposure"].transpose(*rule.sums["exposure"])
        return {"exposure": exposure, "inside": on_grid(image, ds, rule.grid)}
    response = ds.variables["psf"] if rule.name == "psf" else edisp_kernel(ds)
    sky = tuple(map(str, sky_dims(ds, rule.grid))) if rule.grid is not None else ()
    full = {dim: ds.sizes[dim] for dim in sky}
    arrays = {
        name: array.set_dims({**array.sizes, **full}).transpose(*rule.sums[name])
        for name, array in {rule.name: response, "weight": _weight(ds, rule.name)}.items()
    }
    # A PSF in reconstructed energy: each bin has a mask of its own.
    inside = on_grid(used if "energy" in response.dims and rule.name == "psf" else image, ds, rule.grid)
    if rule.name == "edisp" and used.dims:
        arrays["bins"] = on_grid(used, ds, rule.grid)
    return {**arrays, "inside": inside.set_dims(arrays["weight"].sizes)}


def _bin_sizes(ds: xr.Dataset) -> dict[str, int]:
    return {str(dim): ds.sizes[dim] for dim in ("energy", *sky_dims(ds)) if dim in ds.sizes}


# -- on/off bins ------------------------------------------------------------------------------------------------------


def _add_bins(placed: Sequence[Placed]) -> None:
    """Add on/off bins, plane by plane: the sums of one stay in the processor's cache while all datasets are added."""
    cubes = []
    for sums, part in placed:
        bins = [part.get(name, np.broadcast_to(np.float32(NEUTRAL[name]), part["used"].shape)) for name in ON_OFF]
        cubes.append(([_cube(sums[name]) for name in ON_OFF], [_cube(array) for array in bins], _cube(part["used"])))

    def plane(i: int) -> None:
        for (totals, bins, used), (sums, part) in zip(cubes, placed, strict=True):
            inside = part["used"][i : i + 1]
            if "background" in part:
                template = part["background"][i : i + 1]
                inside &= (template >= 0) & (template < np.inf)
            used[i] = add_on_off([total[i] for total in totals], [array[i] for array in bins], used[i])
            if "background" in part:
                sums["background"][i : i + 1] += np.where(inside, template, 0)
            sums["mask_safe"][i : i + 1] |= inside
            chosen = inside & (part["mask_fit"][i : i + 1] == 1) if "mask_fit" in part else inside
            sums["mask_fit"][i : i + 1] |= chosen
            if "mask_fault" in part:
                sums["mask_fault"][i : i + 1] |= part["mask_fault"][i : i + 1]

    in_threads(plane, range(len(placed[0][1]["used"])))


def _finish_bins(sums: Arrays, names: tuple[str, ...]) -> Arrays:
    if "acceptance_off" in names:
        finish_on_off(*(sums[name] for name in ON_OFF[1:]))
    return {name: sums[name] for name in names if name in sums}


def _cube(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View with three axes."""
    return array if array.ndim == 3 else array[:, None, None]


# -- response ---------------------------------------------------------------------------------------------------------


def _add_exposure(placed: Sequence[Placed]) -> None:
    cubes = []
    for sums, part in placed:
        inside = np.broadcast_to(part["inside"], part["exposure"].shape)
        cubes.append((_cube(sums["exposure"]), _cube(part["exposure"]), _cube(inside)))

    def plane(i: int) -> None:
        for total, exposure, inside in cubes:
            add_positive(total[i], exposure[i], inside[i])

    in_threads(plane, range(len(cubes[0][0])))


def _add_response(placed: Sequence[Placed], name: str) -> None:
    """Add a response times its weight; a weight that is not positive, or a value that is not finite, adds nothing."""
    fours = []
    for sums, part in placed:
        weight, inside = _cube(part["weight"]), _cube(part["inside"])
        bins = _cube(part["bins"]) if "bins" in part else np.ones((1, *weight.shape[1:]), dtype=bool)
        fours.append((_four(sums[name]), _cube(sums["weight"]), _four(part[name]), weight, inside, bins))

    def plane(i: int) -> None:
        for total, weights, values, weight, inside, bins in fours:
            own = np.zeros(weight.shape[1:])
            add_positive(own, weight[i], inside[i])
            weights[i] += own
            add_weighted(total[i], values[i], own, bins)

    in_threads(plane, range(len(fours[0][0])))


def _four(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View with four axes."""
    return array if array.ndim == 4 else array[:, :, None, None]


def _finish_response(sums: Arrays, name: str, names: tuple[str, ...]) -> Arrays:
    def plane(i: int) -> None:
        np.divide(sums[name][i], sums["weight"][i], out=sums[name][i], where=sums["weight"][i] > 0)

    in_threads(plane, range(len(sums["weight"])))
    finished = {name: sums[name], f"{name}_exposure": sums["weight"]}
    return {key: finished[key] for key in names}


def _response_rule(ds: xr.Dataset, name: str) -> Rule:
    grid, sky = _response_sky(ds, name)
    energy = "energy" if name == "psf" and "energy" in ds["psf"].dims else "energy_true"
    middle = "rad" if name == "psf" else "energy"
    sums: dict[str, Dims] = {name: (energy, middle, *sky), "weight": (energy, *sky)}
    variables = {name: sums[name]}
    if f"{name}_exposure" in ds:
        variables[f"{name}_exposure"] = sums["weight"]
    finish = partial(_finish_response, name=name, names=tuple(variables))
    return Rule(name, grid, sums, (middle,), variables, partial(_add_response, name=name), finish)


def _response_sky(ds: xr.Dataset, name: str) -> tuple[str | None, Dims]:
    """Sky grid of a response or of its weight, and its dimensions; None and none where it is the same everywhere."""
    for key in (name, f"{name}_exposure"):
        if key in ds:
            grid = own_grid(ds, key)
            sky = tuple(str(dim) for dim in sky_dims(ds, grid) if dim in ds[key].dims)
            if sky:
                return grid, sky
    return None, ()


def _weight(ds: xr.Dataset, name: str) -> xr.Variable:
    """Exposure by which a response is weighted: its own, or that of the dataset if it is on the same grid."""
    if f"{name}_exposure" in ds:
        return ds.variables[f"{name}_exposure"]
    grid, sky = _response_sky(ds, name)
    if "exposure" in ds and _response_sky(ds, "exposure") == (grid, sky) and "energy" not in ds[name].dims[:1]:
        return ds.variables["exposure"]
    raise SchemaError(
        f"{name}: the dataset has no {name}_exposure to weight it with: add it with ds.assign, "
        f"in m2 s on {tuple(dim for dim in ds[name].dims if dim not in ('rad', 'migra', 'energy'))}"
    )
