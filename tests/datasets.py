"""Small random datasets for the algebra tests, in CAR and TAN, with all that a dataset can hold; plain numpy."""

from typing import Any

import numpy as np
import xarray as xr
from hypothesis import strategies as st

import xonoff
from xonoff.axes import axis_coords
from xonoff.schema import VARIABLES

EDGES = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
EDGES_TRUE = np.array([0.5, 1.5, 3.0, 6.0, 12.0, 24.0])
SHAPE = (6, 8)


def parent(projection: str, shape: tuple[int, int] = SHAPE) -> xonoff.SkyGrid:
    return xonoff.SkyGrid.create((83.6, 22.0), shape=shape, pixel_size=0.1, projection=projection)


def make(
    seed: int,
    projection: str = "TAN",
    *,
    window: tuple[slice, slice] | None = None,
    migra: bool = False,
    masks: bool = True,
    storage: type = np.float64,
) -> xr.Dataset:
    """A dataset; with ``window`` the part of the sky of `parent` that it holds, the same part of its response."""
    rng = np.random.default_rng(seed)
    sky = parent(projection)
    sky = sky if window is None else sky.slice(*window)
    coarse = xonoff.SkyGrid.create((83.6, 22.0), shape=(3, 4), pixel_size=0.3, projection=projection)
    geom = xonoff.Geom(sky, tuple(EDGES))
    ne, nt, (ny, nx) = len(EDGES) - 1, len(EDGES_TRUE) - 1, sky.shape
    cube = (ne, ny, nx)
    acceptance = rng.uniform(0.1, 2, cube)
    ratio = rng.uniform(0.05, 1.5, cube)
    values: dict[str, Any] = {
        "counts": rng.poisson(2.0, cube),
        "counts_off": rng.poisson(1.5, cube),
        "acceptance": acceptance,
        "acceptance_off": acceptance / ratio,
        "exposure": rng.uniform(1e9, 5e9, (nt, ny, nx)),
        "psf": rng.uniform(0, 100, (nt, 5, 3, 4)),
        "psf_exposure": rng.uniform(1e9, 5e9, (nt, 3, 4)),
        "edisp": rng.uniform(0, 0.25, (nt, 7 if migra else ne, 3, 4)),
        "edisp_exposure": rng.uniform(1e9, 5e9, (nt, 3, 4)),
    }
    if masks:
        values["mask_safe"] = rng.random(cube) < 0.7
        values["mask_fit"] = rng.random(cube) < 0.8
    coords = {
        **geom.coords(),
        **axis_coords("energy_true", EDGES_TRUE),
        **axis_coords("rad", np.linspace(0, 0.5, 6)),
        **(axis_coords("migra", np.linspace(0.2, 5, 8)) if migra else {}),
        **coarse.coords("psf"),
        **coarse.coords("edisp"),
        "gti_start": xr.Variable("gti", np.array([f"2026-01-{1 + seed % 20:02}"], "datetime64[ns]")),
        "gti_stop": xr.Variable("gti", np.array([f"2026-01-{1 + seed % 20:02}T00:30"], "datetime64[ns]")),
        "obs_id": xr.Variable("obs", np.array([seed])),
        "livetime": xr.Variable("obs", np.array([1000.0 + seed]), {"units": "s"}),
    }
    variables = {}
    for name, array in values.items():
        axes = VARIABLES[name].axes[0]
        if name == "edisp" and migra:
            axes = ("energy_true", "migra")
        grid = name.split("_")[0] if name.split("_")[0] in ("psf", "edisp") else ""
        sky_names = coarse.dims(grid) if grid else sky.dims()
        units = {"units": VARIABLES[name].units} if VARIABLES[name].units else {}
        kept = array if array.dtype.kind in "bi" else array.astype(storage)
        variables[name] = xr.Variable((*axes, *sky_names), kept, units)
    return xr.Dataset(variables, coords, {"name": f"run {seed}", "Conventions": "xonoff-1"})


def lazy(ds: xr.Dataset) -> xr.Dataset:
    """As dask arrays in uneven chunks."""
    y, x = ds.onoff.sky_dims
    return ds.chunk({"energy": 3, y: 4, x: 5, "energy_true": 2})


@st.composite
def windows(draw: st.DrawFn, shape: tuple[int, int] = SHAPE) -> tuple[slice, slice]:
    """Parts of the parent grid of at least one pixel."""
    low = [draw(st.integers(0, n - 1)) for n in shape]
    high = [draw(st.integers(a + 1, n)) for a, n in zip(low, shape, strict=True)]
    return slice(low[0], high[0]), slice(low[1], high[1])


seeds = st.integers(0, 10_000)
projections = st.sampled_from(["CAR", "TAN"])


def npred(ds: xr.Dataset, row: int, column: int, pixel: tuple[int, int]) -> np.ndarray:
    """Counts that a power law of index 2 predicts in a pixel, with the response at a pixel of its own grid."""
    flux = 1 / EDGES_TRUE[:-1] - 1 / EDGES_TRUE[1:]
    kernel = xonoff.irf.edisp_kernel(ds).values[..., pixel[0], pixel[1]]
    return (flux * ds.edisp_exposure.values[:, pixel[0], pixel[1]]) @ kernel


def unrecorded(ds: xr.Dataset) -> xr.Dataset:
    """Without what made it, which differs between two ways to one result."""
    kept = {name: value for name, value in ds.attrs.items() if name != "provenance"}
    return ds.drop_attrs(deep=False).assign_attrs(kept)
