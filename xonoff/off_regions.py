"""On/off spectra of a map: counts of a region, with the background of other regions of it."""

from collections.abc import Hashable, Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import sky_dims, sky_grid
from xonoff.provenance import recorded
from xonoff.quantities import usable
from xonoff.region import region_mask, region_text
from xonoff.schema import MASKS, VARIABLES
from xonoff.skygrid import SkyGrid
from xonoff.spectrum import to_spectrum

__all__ = ["Weights", "on_off_spectrum"]

Weights = Literal["acceptance", "background", "area", "number"]
WEIGHTS: tuple[Weights, ...] = ("acceptance", "background", "area", "number")
TEXT = np.dtypes.StringDType()


@recorded
def on_off_spectrum(
    ds: xr.Dataset,
    region: Any,
    regions_off: Iterable[Any],
    *,
    weights: Weights | None = None,
    containment_correction: bool = False,
) -> xr.Dataset:
    """On/off spectrum of a region, with the background of other regions of the same map.

    Parameters
    ----------
    ds : Dataset
        A map with ``counts``.
    region : Region
        The on region, inside the map.
    regions_off : iterable of Region
        Inside the map and apart from the on region. A pixel in several of them counts once. None of them makes a
        spectrum without valid bins.
    weights : {"acceptance", "background", "area", "number"}, optional
        What the acceptance of a pixel is: ``acceptance``, or the template ``background``, of the map; its solid angle,
        where the acceptance is the same everywhere, in units of that of the on region; or leave pixels aside, 1 on
        and the number of regions off, as gammapy has it. By default the first of these that the map has.
    containment_correction : bool
        As for `xonoff.spectrum.to_spectrum`.

    Returns
    -------
    Dataset (energy)
        As of `xonoff.spectrum.to_spectrum`. In each energy ``acceptance`` is the sum over the bins of the on region
        that are valid and within ``mask_safe``, ``acceptance_off`` and ``counts_off`` those over the off regions;
        ``mask_safe`` is True where both have an acceptance. The coordinate ``region_off`` is the text of the off
        regions.

    Raises
    ------
    GeometryError
        If a region is empty or reaches off the map, or an off region has pixels of the on region.
    SchemaError
        If there are no counts, or not the weights that are asked for.

    Examples
    --------
    >>> import xonoff
    >>> from regions import CirclePixelRegion, PixCoord
    >>> on, *off = (CirclePixelRegion(PixCoord(x, 19.5), 2) for x in (19.5, 10.5, 28.5))
    >>> spectrum = on_off_spectrum(xonoff.tutorial.dataset(), on, off, weights="area")
    >>> spectrum.onoff.alpha.values[:2].round(2)
    array([0.5, 0.5])
    """
    dims = sky_dims(ds)
    if len(dims) != 2 or "counts" not in ds or "energy" not in ds["counts"].dims:
        found = f"{ds['counts'].dims if 'counts' in ds else list(ds.data_vars)} found"
        raise SchemaError(f"a map with counts on energy and two sky dimensions is wanted, {found}: open one")
    sky, kind = sky_grid(ds), _kind(ds, weights)
    on, listed = region_mask(region, sky), list(regions_off)
    off = np.zeros(sky.shape, dtype=bool)
    for number, other in enumerate(listed, 1):
        mask = region_mask(other, sky)
        if (mask & on).any():
            raise GeometryError(
                f"off region {number}, {region_text(other)}, has {int((mask & on).sum())} pixels of the on region: "
                "leave it out, or move it"
            )
        off |= mask
    bare = _weighted(ds, kind, sky, on)
    spectrum = to_spectrum(bare, region, containment_correction=containment_correction)
    sums, sums_off = (_sums(bare, mask, dims) for mask in (on, off))
    if kind == "number":
        sums["acceptance"] = (sums["pixels"] > 0) * 1.0
        sums_off["acceptance"] = (sums_off["pixels"] > 0) * float(len(listed))
    new = {"counts_off": sums_off["counts"], "acceptance": sums["acceptance"], "acceptance_off": sums_off["acceptance"]}
    for name, array in new.items():
        array.attrs = {"units": "1", "long_name": VARIABLES[name].description}
    for name in MASKS:
        if name in spectrum:
            new[name] = spectrum.variables[name] & (new["acceptance_off"] > 0)
            new[name].attrs = spectrum.variables[name].attrs
    text = np.array(_joined_text(listed), dtype=TEXT)
    return spectrum.assign(new).assign_coords(region_off=xr.Variable((), text, {"long_name": "off regions"}))


# -- how it is done ---------------------------------------------------------------------------------------------------


def _joined_text(regions: list[Any]) -> str:
    texts = (region_text(region) for region in regions)
    return " or ".join(f"({text})" if text.startswith("(") else text for text in texts)


def _kind(ds: xr.Dataset, weights: Weights | None) -> Weights:
    """What the acceptance of a pixel is."""
    known = [name for name in WEIGHTS if name in ds or name in ("area", "number")]
    if weights is None:
        return known[0]
    if weights not in known:
        missing = f", for the map has no {weights}" if weights in WEIGHTS else ""
        raise SchemaError(f"weights: {weights!r} found, {' or '.join(map(repr, known))} accepted{missing}")
    return weights


def _weighted(ds: xr.Dataset, kind: Weights, sky: SkyGrid, on: npt.NDArray[np.bool_]) -> xr.Dataset:
    """Dataset with the acceptance of the pixels, and without what else it tells of a background."""
    bare = ds.drop_vars(("counts_off", "acceptance", "acceptance_off", "background"), errors="ignore")
    if kind == "number":
        return bare
    if kind == "area":
        area = sky.solid_angle()
        return bare.assign(acceptance=xr.Variable(sky.dims(), area / area[on].sum()))
    return bare.assign(acceptance=ds.variables[kind])


def _sums(ds: xr.Dataset, mask: npt.NDArray[np.bool_], dims: tuple[Hashable, ...]) -> dict[str, xr.Variable]:
    """Sums over the usable bins of some pixels, and the number of these."""
    rows, columns = (np.flatnonzero(mask.any(axis)) if mask.any() else np.array([0]) for axis in (1, 0))
    box = {dims[0]: slice(rows[0], rows[-1] + 1), dims[1]: slice(columns[0], columns[-1] + 1)}
    part = ds.isel(box)
    used = usable(part) & xr.Variable(dims, mask).isel(box)
    names = [name for name in ("counts", "acceptance") if name in part]
    sums = {name: part.variables[name].where(used, 0).sum(dims, dtype=np.float64) for name in names}
    return {**sums, "pixels": used.sum(dims)}
