"""On/off maps anywhere on the sky, with a response that varies along them, for the tests of scans; plain numpy."""

from typing import Any

import numpy as np
import xarray as xr

import xonoff
from xonoff.axes import axis_coords

EDGES = np.array([0.5, 1.0, 2.0, 5.0, 20.0])
EDGES_TRUE = np.geomspace(0.3, 40, 9)
RAD = np.linspace(0, 0.5, 26)


def field(
    center: tuple[float, float] = (83.6, 22.0),
    projection: str = "TAN",
    *,
    shape: tuple[int, int] = (40, 45),
    pixel: float = 0.05,
    frame: str = "icrs",
    counts: float = 0.3,
    ratio: float = 0.1,
    varying: bool = True,
    coarse: float = 0.7,
    seed: int = 1,
    by_energy: bool = False,
    exposure_grid: bool = False,
    psf_grid: bool = True,
) -> xr.Dataset:
    """A map of a background that falls off from its middle, as the exposure does, the faster the higher the energy.

    The PSF grows, and the energy dispersion becomes wider, along the map. ``counts`` are those expected of a pixel of
    the lowest energy, ``ratio`` is alpha; ``by_energy`` gives a PSF by energy, ``exposure_grid`` an exposure on a
    grid of its own, ``psf_grid=False`` a PSF on the grid of the counts.
    """
    sky = xonoff.SkyGrid.create(center, shape=shape, pixel_size=pixel, projection=projection, frame=frame)
    size = tuple(int(np.ceil(n * pixel / coarse)) + 2 for n in shape)
    wide = xonoff.SkyGrid.create(center, shape=size, pixel_size=coarse, projection=projection, frame=frame)
    geom = xonoff.Geom(sky, tuple(EDGES))
    ne, nt = len(EDGES) - 1, len(EDGES_TRUE) - 1
    true = np.sqrt(EDGES_TRUE[1:] * EDGES_TRUE[:-1])
    rng = np.random.default_rng(seed)

    def off_axis(grid: xonoff.SkyGrid) -> tuple[np.ndarray, np.ndarray]:
        y, x = np.indices(grid.shape)
        scale = np.array(grid.pixel_scales)
        v, u = (y - (grid.shape[0] - 1) / 2) * scale[0], (x - (grid.shape[1] - 1) / 2) * scale[1]
        return np.hypot(v, u) * varying, (v + 0.5 * u) * varying

    def area(grid: xonoff.SkyGrid) -> np.ndarray:
        fall = np.exp(-0.5 * (off_axis(grid)[0] / np.linspace(2.5, 1.5, nt)[:, None, None]) ** 2)
        return 3e9 * (1 - np.exp(-true))[:, None, None] * fall

    rate = counts * np.geomspace(1, 0.05, ne)[:, None, None] * np.exp(-0.5 * (off_axis(sky)[0] / 1.5) ** 2)
    psf_sky = wide if psf_grid else sky
    energy = np.sqrt(EDGES[1:] * EDGES[:-1]) if by_energy else true
    sigma = (0.06 + 0.03 * energy**-0.5)[:, None, None] * (1 + 0.15 * np.tanh(off_axis(psf_sky)[1]))
    rad = (RAD[1:] + RAD[:-1]) / 2
    psf = np.exp(-0.5 * (rad[:, None, None] / sigma[:, None]) ** 2) / (2 * np.pi * np.radians(sigma[:, None]) ** 2)
    width = 0.15 * (1 + 0.3 * np.tanh(off_axis(wide)[1]))
    lower, upper = (np.log(EDGES[n:][:ne] / true[:, None])[..., None, None] / width for n in (0, 1))
    edisp = (np.tanh(0.8 * upper) - np.tanh(0.8 * lower)) / 2
    axis = "energy" if by_energy else "energy_true"
    own = wide if exposure_grid else sky
    values: dict[str, Any] = {
        "counts": (geom.dims, rng.poisson(rate).astype(float)),
        "counts_off": (geom.dims, rng.poisson(rate / ratio).astype(float)),
        "acceptance": (geom.dims, rate),
        "acceptance_off": (geom.dims, rate / ratio),
        "exposure": (("energy_true", *own.dims("exposure" if exposure_grid else "")), area(own)),
        "psf": ((axis, "rad", *psf_sky.dims("psf" if psf_grid else "")), psf),
        "edisp": (("energy_true", "energy", *wide.dims("edisp")), edisp),
    }
    coords = {
        **geom.coords(),
        **axis_coords("energy_true", EDGES_TRUE),
        **axis_coords("rad", RAD),
        **(wide.coords("psf") if psf_grid else {}),
        **wide.coords("edisp"),
        **(wide.coords("exposure") if exposure_grid else {}),
    }
    variables = {name: xr.Variable(*given, {"units": xonoff.schema.units(name)}) for name, given in values.items()}
    return xr.Dataset(variables, coords, {"name": "field", "Conventions": "xonoff-1"})
