"""Predicted counts: sky models through the instrument response, at a cost that follows what the models reach.

For each model ``npred = edisp . (flux * exposure * (shape (x) psf))`` over the pixels that it reaches. PSF and energy
dispersion are those at the position of the source, the exposure is that of the pixel.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord

from xonoff import quantities
from xonoff.duck import chunk_slices
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import Geom, geom, sky_dims
from xonoff.irf import METHODS, Method, at_position
from xonoff.models import SkyModel, model_list, models_of
from xonoff.models.free import follow, rules_of
from xonoff.schema import VARIABLES
from xonoff.skygrid import SkyGrid
from xonoff.source import Source, check_model, position_of, reach_of, reaches

__all__ = [
    "BEYOND",
    "Options",
    "add_counts",
    "bins_of",
    "chunks_of",
    "copies_of",
    "labelled",
    "npred",
    "npred_signal",
    "signal_of",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Models: TypeAlias = SkyModel | Iterable[SkyModel] | None
Mode: TypeAlias = Literal["local", "global"]

#: Share of the events of a source that is left out at its far end, by evaluation mode.
BEYOND = {"local": 1e-5, "global": 0.0}


class Options(TypedDict, total=False):
    """How counts are predicted, see `npred_signal`."""

    evaluation_mode: Mode
    interpolation: Method


def npred_signal(
    ds: xr.Dataset,
    models: Models = None,
    *,
    per_model: bool = False,
    evaluation_mode: Mode = "local",
    interpolation: Method = "linear",
) -> xr.DataArray:
    r"""Counts predicted by sky models.

    Parameters
    ----------
    ds : Dataset
        A map, image or spectrum with ``exposure``, and ``psf`` and ``edisp`` where there are. Without ``edisp``
        reconstructed energies are the true ones; without ``psf`` events stay in the pixel that they come from.
    models : SkyModel or iterable of SkyModel, optional
        Those that the dataset carries by default.
    per_model : bool
        One map a model, along a dimension ``model`` of their names, in the place of the sum.
    evaluation_mode : {"local", "global"}
        "local" leaves out the far end of each source, 1e-5 of its events, which the rest makes up for; "global" does
        not.
    interpolation : {"linear", "nearest"}
        How PSF and energy dispersion are taken at the position of a source from the pixels of their sky grids:
        "nearest" takes the nearest pixel of the response, see `xonoff.irf.at_position`.

    Returns
    -------
    DataArray (energy, sky) or (model, energy, sky)
        Zero without models. Lazy where the response is: then the chunks that no model reaches are zeros that cost no
        work.

    Raises
    ------
    ModelError
        If a model has no shape and the dataset is a map, or a spectrum has no integral.
    SchemaError
        If there is no exposure.

    Notes
    -----
    With :math:`i` for pixels, :math:`t` for true and :math:`e` for reconstructed energies,

    .. math:: n_{ei} = \sum_t D_{te}\, \Phi_t\, X_{ti}\, S_{ti},

    of the energy dispersion, the flux of the true energy bin, the exposure of the pixel, and its share of the events:
    the shape spread by the PSF. A spectrum of a region takes all events of a model.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    >>> ds = xonoff.tutorial.dataset()
    >>> predicted = npred_signal(ds, crab)
    >>> predicted.dims, bool(abs(predicted.sum() / ds.onoff.excess.sum() - 1) < 0.1)
    (('energy', 'lat', 'lon'), True)
    """
    where = bins_of(ds, evaluation_mode, interpolation)
    listed = copies_of(ds, models)
    follow(rules_of(listed))
    if any(ds[name].chunks is not None for name in VARIABLES if name in ds):
        array = _lazy(ds, where, listed, evaluation_mode, interpolation, per_model)
    else:
        array = np.zeros((len(listed) if per_model else 1, *where.shape))
        for number, model in enumerate(listed):
            add_counts(array[number if per_model else 0], Source(ds, model, BEYOND[evaluation_mode], interpolation))
        array = array if per_model else array[0]
    result = labelled(ds, where)
    if per_model:
        names = xr.Variable("model", np.array([model.name for model in listed], dtype=object))
        result = result.expand_dims(model=names) if listed else result.expand_dims(model=0)
    return result.copy(data=array)


def signal_of(ds: xr.Dataset, models: Models = None, **options: Unpack[Options]) -> xr.DataArray | None:
    """Signal to take statistics with: the predicted counts of models; None where there is none, which is 0."""
    listed = models_of(ds) if models is None else model_list(models)
    return npred_signal(ds, listed, **options) if listed else None


def npred(ds: xr.Dataset, models: Models = None, **options: Unpack[Options]) -> xr.DataArray:
    """Counts predicted in the on region: those of sky models, and the profiled background.

    Parameters
    ----------
    ds, models, **options
        As for `npred_signal`, but for ``per_model``.

    Returns
    -------
    DataArray (energy, sky)
        Not negative; NaN where on/off bins are invalid.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    >>> ds = xonoff.tutorial.dataset()
    >>> float((npred(ds, crab).sum() / ds.counts.sum()).round(2))
    1.01
    """
    signal = signal_of(ds, models, **options)
    total = quantities.npred_background(ds, signal)
    if signal is not None:
        both = (total.variable + signal.variable).transpose(*total.dims)
        total = total.copy(data=np.maximum(both.data, 0))
    return total.rename("npred")


# -- bins -------------------------------------------------------------------------------------------------------------


def copies_of(ds: xr.Dataset, models: Models) -> list[SkyModel]:
    """Copies of models, or of those of a dataset."""
    return [model.copy() for model in (models_of(ds) if models is None else model_list(models))]


def bins_of(ds: xr.Dataset, evaluation_mode: str, interpolation: str) -> Geom:
    """Bins to predict counts in; refuses options that are none, and a dataset without response or with half a sky."""
    for name, option, accepted in (
        ("evaluation_mode", evaluation_mode, tuple(BEYOND)),
        ("interpolation", interpolation, METHODS),
    ):
        if option not in accepted:
            raise SchemaError(f"{name} {option!r} found, {' or '.join(map(repr, accepted))} accepted")
    if "exposure" not in ds:
        raise SchemaError(f"the dataset has no exposure ({VARIABLES['exposure'].description}): add it with ds.assign")
    lost = [dim for dim in ("energy", "energy_true") if dim not in ds.dims]
    sky = sky_dims(ds)
    if len(sky) == 1 or (not sky and {"y", "x", "wcs"} <= set(ds.coords)):
        lost += [dim for dim in SkyGrid(str(ds["wcs"].attrs.get("header")), (1, 1)).dims() if dim not in ds.dims]
    if lost:
        raise GeometryError(
            f"the dataset has no dimension {', '.join(lost)}, {', '.join(map(str, ds.dims))} found: "
            f"keep it with a slice or a list, as in ds.isel({lost[0]}=[0])"
        )
    return geom(ds)


def labelled(ds: xr.Dataset, where: Geom) -> xr.DataArray:
    """Zeros on the bins of a dataset, with its coordinates; they take no memory."""
    coords = {name: c.variable for name, c in ds.coords.items() if set(c.dims) <= set(where.dims)}
    zeros = xr.Variable(where.dims, np.broadcast_to(0.0, where.shape), {"units": "1"})
    return xr.Dataset({"npred_signal": zeros}, coords)["npred_signal"]


def add_counts(array: Floats, source: Source) -> None:
    """Add the counts of a source to an array (energy, sky), in place."""
    from xonoff.stats import kernels

    kernels.add_rows(array.reshape(len(array), -1).T, source.pixels, source.counts, source.factor)


# -- chunk by chunk ---------------------------------------------------------------------------------------------------


def _lazy(
    ds: xr.Dataset, where: Geom, models: list[SkyModel], mode: Mode, interpolation: Method, per_model: bool
) -> Any:
    """Prediction on dask arrays: a task for each chunk that a model reaches, zeros elsewhere."""
    import dask.array as da
    from dask.delayed import delayed

    chunks, sky = chunks_of(ds, where), where.sky
    slices = [chunk_slices(sizes) for sizes in chunks]
    for model in models:
        check_model(model, where)
    positions = [position_of(model, where) for model in models]
    reach = [reach_of(model, ds) for model in models]
    near = [sky is None or reaches(at, far, sky) for at, far in zip(positions, reach, strict=True)]
    bins = {name: c.variable for name, c in ds.coords.items() if {*c.dims} <= {*where.dims}}
    exposure = ds[["exposure"]].assign_coords(bins).drop_vars(_angles(ds), errors="ignore")
    responses = [_response(ds, at, interpolation) if found else None for at, found in zip(positions, near, strict=True)]
    predict = delayed(_block, pure=True)

    @cache
    def source(number: int, energy: int) -> Any:
        response = responses[number]
        assert response is not None
        return delayed((response.isel(energy=slices[0][energy]), models[number]), pure=True)

    def block(index: tuple[int, ...], numbers: list[int]) -> Any:
        part = {dim: along[i] for dim, along, i in zip(where.dims, slices, index, strict=True)}
        shape = tuple(sizes[i] for sizes, i in zip(chunks, index, strict=True))
        pixels = sky and sky.slice(*(part[dim] for dim in where.dims[1:]))
        reached = [n for n in numbers if near[n] and (pixels is None or reaches(positions[n], reach[n], pixels))]
        if not reached:
            return da.zeros(shape, chunks=shape)
        return da.from_delayed(predict(exposure.isel(part), [source(n, index[0]) for n in reached], mode), shape, float)

    def blocks(numbers: list[int]) -> Any:
        found = np.empty([len(sizes) for sizes in chunks], dtype=object)
        for index in np.ndindex(found.shape):
            found[index] = block(index, numbers)
        return da.block(found.tolist())

    if not per_model:
        return blocks(list(range(len(models))))
    empty = da.zeros((0, *where.shape), chunks=(0, *chunks))
    return da.stack([blocks([n]) for n in range(len(models))]) if models else empty


def _block(exposure: xr.Dataset, sources: list[tuple[xr.Dataset, SkyModel]], mode: Mode) -> Floats:
    parts = [(exposure.assign_coords(response.coords).assign(response), model) for response, model in sources]
    return np.asarray(sum(npred_signal(part, model, evaluation_mode=mode).values for part, model in parts))


def chunks_of(ds: xr.Dataset, where: Geom) -> tuple[tuple[int, ...], ...]:
    """Chunks of a prediction: those of the counts, else those of the exposure on their pixels."""
    sizes: dict[Any, tuple[int, ...]] = {}
    for name in ("exposure", "acceptance_off", "acceptance", "counts_off", "counts"):
        if name in ds:
            sizes |= ds[name].variable.chunksizes
    return tuple(sizes.get(dim, (n,)) for dim, n in zip(where.dims, where.shape, strict=True))


def _response(ds: xr.Dataset, position: SkyCoord, interpolation: Method) -> xr.Dataset:
    """Return PSF and energy dispersion at a position, with their axes."""
    arrays = {name: at_position(ds, name, position, interpolation) for name in ("psf", "edisp") if name in ds}
    dims = {"bounds", "energy", "energy_true", *(dim for array in arrays.values() for dim in array.dims)}
    coords = {name: c.variable for name, c in ds.coords.items() if c.dims and set(c.dims) <= dims}
    return xr.Dataset(arrays, coords)


def _angles(ds: xr.Dataset) -> list[str]:
    """Coordinates that follow from others, which need not be read."""
    return [str(name) for name, c in ds.coords.items() if c.ndim == 2 and "bounds" not in c.dims]
