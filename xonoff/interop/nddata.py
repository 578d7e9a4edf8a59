"""Maps and cubes as astropy's ``CCDData``, and back: values, unit, mask, uncertainty and WCS.

A cube has a third WCS axis of energy on a logarithmic scale where its bins are of equal width on it, else one that
counts the bins; the edges are in the card ``ENERGIES`` of the metadata in any case, TeV, so that nothing is lost, also
in a file of `~astropy.nddata.CCDData.write`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_coords, check_edges
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import map_dims, sky_grid
from xonoff.interop.wcs import from_wcs, to_wcs
from xonoff.units import floats_in, plain_unit

if TYPE_CHECKING:
    from astropy.nddata import CCDData, NDData
    from astropy.wcs import WCS

    from xonoff.units import Value

__all__ = ["from_nddata", "to_nddata"]

ENERGIES = "ENERGIES"
TEV = 1.602176634e-7  # J


def to_nddata(array: xr.DataArray, error: xr.DataArray | None = None, *, energy: "Value | None" = None) -> "CCDData":
    """Map or cube as ``CCDData`` of astropy; a dask array is computed.

    Parameters
    ----------
    array : DataArray (sky) or (energy, sky)
        Its ``attrs["units"]`` become the unit; where it is not finite, the mask is True.
    error : DataArray, optional
        Its standard deviations, on the same bins and in the same units.
    energy : array_like, TeV, optional
        Edges of the energies of a cube, such as ``ds.onoff.geom.energy``: an array alone has their centres, which tell
        the edges of bins of equal width in log energy only.

    Returns
    -------
    CCDData
        With the name of the array in ``meta["NAME"]``, if it is of ASCII characters, as a FITS header wants.

    Raises
    ------
    SchemaError
        If it is no DataArray.
    GeometryError
        If the array has other dimensions, the errors are on other bins, or the energies have no edges.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> data = to_nddata(ds.counts, energy=ds.onoff.geom.energy)
    >>> data.shape, data.unit, data.wcs.world_axis_physical_types
    ((8, 40, 40), Unit(dimensionless), ['pos.eq.ra', 'pos.eq.dec', 'em.energy'])
    >>> bool((from_nddata(data).counts == ds.counts).all())
    True
    """
    from astropy.nddata import CCDData, StdDevUncertainty

    for what, found in (("array", array), ("error", error)):
        if not isinstance(found, xr.DataArray) and found is not None:
            raise SchemaError(f"{what}: a {type(found).__name__} found, a DataArray accepted, such as ds.counts")
    dims = map_dims(array)
    order = ("energy", *dims) if "energy" in array.dims else dims
    if set(array.dims) != set(order):
        raise GeometryError(f"{array.name}: dimensions {array.dims} found, {dims} or {('energy', *dims)} accepted")
    values = np.asarray(array.transpose(*order).values)
    name = str(array.name or "")
    meta: dict[str, Any] = {"NAME": name} if name.isascii() and name.isprintable() and name else {}  # as FITS has them
    sky, edges = sky_grid(array), None
    if "energy" in array.dims:
        edges = _even_edges(array) if energy is None else check_edges("energy", energy)
        if len(edges) != array.sizes["energy"] + 1:
            raise GeometryError(f"energy: {len(edges)} edges of {array.sizes['energy']} bins found")
        meta[ENERGIES] = " ".join(map(repr, edges.tolist()))
    unit = plain_unit("" if array.attrs.get("units", "1") == "1" else array.attrs["units"])
    invalid = ~np.isfinite(values)
    uncertainty = None
    if error is not None:
        if set(error.dims) != set(order) or dict(error.sizes) != dict(array.sizes):
            raise GeometryError(f"error: {dict(error.sizes)} found, {dict(array.sizes)} accepted")
        there = sky_grid(error).on(sky)
        if there is None or (there.origin, there.step) != (sky.origin, sky.step):
            raise GeometryError("error: pixels elsewhere on the sky found, those of the array accepted")
        if edges is not None and not np.allclose(error["energy"], array["energy"], rtol=1e-6, atol=0):
            raise GeometryError("error: other energies found, those of the array accepted")
        uncertainty = StdDevUncertainty(np.asarray(error.transpose(*order).values))
    return CCDData(
        values,
        unit=unit,
        wcs=to_wcs(sky) if edges is None else _cube_wcs(to_wcs(sky), edges),
        mask=invalid if invalid.any() else None,
        uncertainty=uncertainty,
        meta=meta,
    )


def from_nddata(data: "NDData", name: str | None = None) -> xr.Dataset:
    """Map or cube of ``NDData`` or ``CCDData`` of astropy as a dataset.

    Parameters
    ----------
    data : NDData
        Two axes, latitude and longitude, or three with energy as the first one; with a celestial WCS.
    name : str, optional
        Of the variable; by default ``meta["NAME"]``, or "data".

    Returns
    -------
    Dataset
        The variable, NaN where the mask is True; ``<name>_err`` where there is an uncertainty, as standard deviations.

    Raises
    ------
    SchemaError
        If the data are none of numbers, or the uncertainty cannot be given as standard deviations.
    GeometryError
        If there is no celestial WCS, or no energies of a cube.

    Examples
    --------
    >>> import xonoff
    >>> image = xonoff.tutorial.dataset().onoff.excess.sum("energy")
    >>> back = from_nddata(to_nddata(image, error=abs(image) ** 0.5), "excess")
    >>> list(back.data_vars), bool((back.excess == image).all())
    (['excess', 'excess_err'], True)
    """
    from astropy.nddata import StdDevUncertainty

    values = np.asarray(data.data)
    meta = data.meta if data.meta is not None else {}
    name = str(meta.get("NAME", "data")) if name is None else name
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiub":
        raise SchemaError(
            f"{name}: {values.dtype} of shape {values.shape} found, numbers (lat, lon) or with energy first"
        )
    wcs = data.wcs
    wcs = getattr(wcs, "low_level_wcs", wcs)
    if not getattr(wcs, "has_celestial", False):
        raise GeometryError(f"{name}: a WCS with a longitude and a latitude accepted, {type(wcs).__name__} found")
    sky = from_wcs(wcs.celestial, values.shape[-2:])
    dims, coords = sky.dims(), sky.coords()
    if values.ndim == 3:
        dims, coords = ("energy", *dims), axis_coords("energy", _edges(meta, wcs, len(values))) | coords  # type: ignore[assignment]
    unit = "1" if data.unit is None or data.unit == "" else str(data.unit)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    masked = None if data.mask is None else np.broadcast_to(np.asarray(data.mask, dtype=bool), values.shape)
    if masked is not None and masked.any():
        values = np.where(masked, np.nan, values)
    variables = {name: xr.Variable(dims, values, {"units": unit})}
    if data.uncertainty is not None and data.uncertainty.array is not None:
        try:
            error = data.uncertainty.represent_as(StdDevUncertainty)
        except Exception as problem:  # astropy raises several kinds
            raise SchemaError(
                f"{name}: uncertainty: standard deviations, variances or their inverse accepted"
            ) from problem
        factor = 1.0 if error.unit is None or data.unit is None else float(error.unit.to(data.unit))
        variables[f"{name}_err"] = xr.Variable(dims, np.asarray(error.array) * factor, {"units": unit})
    return xr.Dataset(variables, coords)


def _even_edges(array: xr.DataArray) -> npt.NDArray[np.float64]:
    """Edges of bins of equal width in log energy, of their centres."""
    centers = np.log(np.asarray(array["energy"].values, dtype=np.float64)) if "energy" in array.coords else np.zeros(0)
    if len(centers) < 2 or not np.allclose(np.diff(centers), centers[1] - centers[0], rtol=1e-6, atol=0):
        raise GeometryError(
            f"{array.name}: the centres of its energies do not tell their edges: give energy=ds.onoff.geom.energy"
        )
    half = (centers[-1] - centers[0]) / (len(centers) - 1) / 2
    return np.asarray(np.exp(np.append(centers - half, centers[-1] + half)))


def _cube_wcs(sky: "WCS", edges: npt.NDArray[np.float64]) -> "WCS":
    """WCS of a cube; logarithmic in energy where its bins are, else a number of bins."""
    from astropy.wcs import WCS

    wcs, own = WCS(naxis=3), sky.wcs
    widths = np.diff(np.log(edges))
    even = bool(np.allclose(widths, widths.mean(), rtol=1e-6, atol=0))
    first = float(np.sqrt(edges[0] * edges[1]) * TEV)
    wcs.wcs.ctype = [*own.ctype, "ENER-LOG" if even else "ENERGYBIN"]
    wcs.wcs.cunit = [*map(str, own.cunit), "J" if even else ""]
    wcs.wcs.crpix = [*own.crpix, 1.0]
    wcs.wcs.crval = [*own.crval, first if even else 0.0]
    wcs.wcs.cdelt = [*own.cdelt, first * float(widths.mean()) if even else 1.0]
    pc = np.eye(3)
    pc[:2, :2] = own.get_pc()
    wcs.wcs.pc = pc
    for key in ("lonpole", "latpole", "radesys", "equinox"):
        setattr(wcs.wcs, key, getattr(own, key))
    wcs.wcs.set_pv(own.get_pv())
    wcs.wcs.set()
    return wcs


def _edges(meta: Any, wcs: "WCS", n: int) -> npt.NDArray[np.float64]:
    """Edges of the energies of a cube, TeV: of its metadata, or of its WCS."""
    if ENERGIES in meta:
        edges = floats_in([float(text) for text in str(meta[ENERGIES]).split()], "TeV")
    else:
        spectral = wcs.spectral
        if spectral.naxis != 1 or not str(spectral.wcs.ctype[0]).startswith("ENER"):
            raise GeometryError(
                f"a cube with the axes {list(wcs.wcs.ctype)} found, a third one ENER or ENER-LOG accepted"
            )
        world = spectral.wcs_pix2world(np.arange(n + 1) - 0.5, 0)[0]
        from astropy import units as u

        edges = u.Quantity(world, spectral.wcs.cunit[0]).to_value("TeV")
    if len(edges) != n + 1:
        raise GeometryError(f"{len(edges)} edges of energies of {n} bins found, {n + 1} accepted")
    return np.asarray(edges, dtype=np.float64)
