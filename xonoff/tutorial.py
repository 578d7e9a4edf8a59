"""A small simulated dataset for notebooks, documentation and tests: made in code, the same every time.

It is a point source with the flux of the Crab nebula, seen by a fictional array of telescopes above a smooth
background, in two runs. It has all that a dataset can have: masks, acceptances, exposure, PSF and energy dispersion
on coarser sky grids of their own, good time intervals.
"""

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_coords, energy_edges
from xonoff.geometry import Geom
from xonoff.schema import CONVENTIONS, VARIABLES
from xonoff.skygrid import SkyGrid
from xonoff.typed import on_off

__all__ = ["dataset"]

#: Position of the source, ICRS, deg.
SOURCE = (83.633, 22.014)
LIVETIME = (1700.0, 1650.0)
OFF_TO_ON = 10.0
SEED = 20261123

Floats = npt.NDArray[np.float64]


@on_off
def dataset() -> xr.Dataset:
    """Return the simulated dataset: 8 energies, 40 x 40 pixels of 0.1 deg, 12 true energies.

    Returns
    -------
    Dataset
        About 400 kB, in memory, with every variable of the data model but ``mask_fit`` and ``background``.

    Examples
    --------
    >>> ds = dataset()
    >>> dict(ds.counts.sizes)
    {'energy': 8, 'lat': 40, 'lon': 40}
    >>> bool(ds.onoff.significance("energy").max() > 20)
    True
    """
    edges, edges_true = energy_edges("0.5 TeV", "50 TeV", n=8), energy_edges("0.3 TeV", "80 TeV", n=12)
    rad_edges = np.linspace(0, 0.8, 41)
    geom = Geom.create(SOURCE, width=4.0, pixel_size=0.1, energy=edges)
    coarse = SkyGrid.create(SOURCE, shape=(4, 4), pixel_size=1.0)
    true = axis_coords("energy_true", edges_true)
    e_true, rad = true["energy_true"].values, axis_coords("rad", rad_edges)["rad"].values

    sigma = 0.05 + 0.05 * e_true**-0.3
    psf = np.exp(-0.5 * (rad / sigma[:, None]) ** 2) / (2 * np.pi * np.radians(sigma[:, None]) ** 2)
    edisp = _migration(edges, e_true)
    offset, offset_coarse = _offset(geom.sky), _offset(coarse)
    area = 1e6 * (1 - np.exp(-e_true))
    exposure = area[:, None, None] * sum(LIVETIME) * np.exp(-0.5 * (offset / 2.0) ** 2)
    exposure_coarse = area[:, None, None] * sum(LIVETIME) * np.exp(-0.5 * (offset_coarse / 2.0) ** 2)

    # Events of the source, pixel by pixel: flux of the Crab nebula in each true-energy bin times exposure, spread.
    flux = 3.5e-7 / 1.6 * (edges_true[:-1] ** -1.6 - edges_true[1:] ** -1.6)
    blur = np.exp(-0.5 * (offset / sigma[:, None, None]) ** 2)
    spread = blur / blur.sum(axis=(1, 2), keepdims=True)
    signal = np.einsum("tyx,te->eyx", flux[:, None, None] * exposure * spread, edisp)
    rate = 1.5 * np.diff(edges**-1.7)[:, None, None] / np.diff(edges**-1.7)[0] * np.exp(-0.5 * (offset / 1.5) ** 2)

    rng = np.random.default_rng(SEED)
    mask_safe = np.broadcast_to(offset < 2.5, geom.shape).copy()
    mask_safe[0] &= offset < 1.5
    values = {
        "counts": rng.poisson(signal + rate),
        "counts_off": rng.poisson(OFF_TO_ON * rate),
        "acceptance": rate,
        "acceptance_off": OFF_TO_ON * rate,
        "mask_safe": mask_safe,
        "exposure": exposure,
        "psf": np.broadcast_to(psf[..., None, None], (*psf.shape, 4, 4)),
        "psf_exposure": exposure_coarse,
        "edisp": np.broadcast_to(edisp[..., None, None], (*edisp.shape, 4, 4)),
        "edisp_exposure": exposure_coarse,
    }
    start = np.array(["2026-01-17T20:00", "2026-01-17T20:32"], "datetime64[ns]")
    coords = {
        **geom.coords(),
        **true,
        **axis_coords("rad", rad_edges),
        **coarse.coords("psf"),
        **coarse.coords("edisp"),
        "gti_start": xr.Variable("gti", start, {"time_scale": "TT"}),
        "gti_stop": xr.Variable("gti", start + np.timedelta64(30, "m"), {"time_scale": "TT"}),
        "obs_id": xr.Variable("obs", np.array([1, 2])),
        "livetime": xr.Variable("obs", np.array(LIVETIME), {"units": "s"}),
    }
    variables = {name: _variable(name, array, geom, coarse) for name, array in values.items()}
    return xr.Dataset(variables, coords, {"name": "tutorial", "Conventions": CONVENTIONS})


def _variable(name: str, array: npt.NDArray[np.generic], geom: Geom, coarse: SkyGrid) -> xr.Variable:
    declared = VARIABLES[name]
    grid = declared.grid if declared.grid in ("psf", "edisp") else ""
    sky = coarse.dims(grid) if grid else geom.dims[1:]
    data = array if array.dtype == bool else array.astype(np.float32)
    attrs = {"units": declared.units} if declared.units else {}
    return xr.Variable((*declared.axes[0], *sky), np.ascontiguousarray(data), attrs)


def _offset(sky: SkyGrid | None) -> Floats:
    """Distance of the pixels from the source, deg."""
    assert sky is not None
    lon, lat = (np.radians(angle) for angle in sky.lonlat())
    lon0, lat0 = np.radians(SOURCE)
    cosine = np.sin(lat) * np.sin(lat0) + np.cos(lat) * np.cos(lat0) * np.cos(lon - lon0)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _migration(edges: Floats, e_true: Floats) -> Floats:
    """Probability of each energy bin (columns) for each true energy (rows): log-normal with 15 % resolution."""
    from scipy.special import ndtr

    return np.asarray(np.diff(ndtr(np.log(edges / e_true[:, None]) / 0.15), axis=1))
