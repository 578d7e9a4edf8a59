"""Hypothesis strategies for sky headers and for what people do to a map, with astropy's WCS as the judge."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from hypothesis import assume
from hypothesis import strategies as st

PROJECTIONS = ("CAR", "MER", "CEA", "TAN", "SIN", "AIT", "ZEA")
CYLINDRICAL = ("CAR", "MER", "CEA")
FRAMES = ("icrs", "galactic")

Floats = npt.NDArray[np.float64]
Step = Callable[[xr.Dataset], xr.Dataset]


def make_cards(
    projection: str = "TAN",
    frame: str = "icrs",
    *,
    center: tuple[float, float] = (83.6, 22.0),
    crpix: tuple[float, float] = (4.0, 3.5),
    size: tuple[float, float] = (-0.1, 0.1),
    turn: float = 0.0,
    form: str = "CDELT",
    **extra: Any,
) -> dict[str, Any]:
    """FITS cards of a grid, rotated by ``turn`` degrees, in one of the notations of the standard."""
    names = ("RA--", "DEC-") if frame == "icrs" else ("GLON", "GLAT")
    cards: dict[str, Any] = {f"CTYPE{i}": f"{name}-{projection}" for i, name in enumerate(names, 1)}
    cards |= {f"CRVAL{i}": value for i, value in enumerate(center, 1)}
    cards |= {f"CRPIX{i}": value for i, value in enumerate(crpix, 1)}
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    if form == "CD":
        matrix = {"CD1_1": cos * size[0], "CD1_2": -sin * size[1], "CD2_1": sin * size[0], "CD2_2": cos * size[1]}
        return cards | {key: float(value) for key, value in matrix.items()} | extra
    cards |= {"CDELT1": size[0], "CDELT2": size[1]}
    if form == "CROTA2":
        cards["CROTA2"] = turn
    elif form == "PC":
        ratio = size[1] / size[0]
        matrix = {"PC1_1": cos, "PC1_2": -sin * ratio, "PC2_1": sin / ratio, "PC2_2": cos}
        cards |= {key: float(value) for key, value in matrix.items()}
    return cards | extra


def astropy_wcs(cards: dict[str, Any]) -> WCS:
    """What astropy makes of the cards by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return WCS(fits.Header(cards), naxis=2)


@st.composite
def headers(draw: st.DrawFn, projections: tuple[str, ...] = PROJECTIONS) -> dict[str, Any]:
    """Cards of any grid that wcslib can compute: oblique, rotated, mirrored, near the poles."""
    projection = draw(st.sampled_from(projections))
    size = st.floats(0.01, 2.0)
    sign = st.sampled_from([-1, 1])
    extra = draw(st.just({}) | st.fixed_dictionaries({"LONPOLE": st.sampled_from([0.0, 180.0, 90.0, 37.5, -20.0])}))
    cards = make_cards(
        projection,
        draw(st.sampled_from(FRAMES)),
        center=(draw(st.floats(0, 360)), draw(st.sampled_from([0.0, 90.0, -90.0]) | st.floats(-89, 89))),
        crpix=(draw(st.floats(-20, 20)), draw(st.floats(-20, 20))),
        size=(draw(sign) * draw(size), draw(sign) * draw(size)),
        turn=draw(st.sampled_from([0.0, 90.0, 30.0]) | st.floats(-180, 180)),
        form=draw(st.sampled_from(["CDELT", "CROTA2", "PC", "CD"])),
        **extra,
    )
    try:
        astropy_wcs(cards).wcs.set()
    except Exception:  # some poles do not exist: wcslib has an error of its own for each
        assume(False)
    return cards


@st.composite
def slices(draw: st.DrawFn, n: int) -> slice:
    """Slices of at least one of ``n`` pixels, forwards or backwards."""
    start = draw(st.integers(0, n - 1))
    stop = draw(st.integers(start + 1, n))
    step = draw(st.integers(1, 3))
    if draw(st.booleans()):
        return slice(start, stop, step)
    return slice(stop - 1, start - 1 if start else None, -step)


@st.composite
def selections(draw: st.DrawFn, size: int = 12) -> list[Step]:
    """Up to three things that people do to a map of ``size`` pixels a side, one after the other."""
    return draw(st.lists(st.one_of(_slicing(size), _coarsening(), _rejoining()), max_size=3))


@st.composite
def _slicing(draw: st.DrawFn, size: int) -> Step:
    parts = [draw(slices(size)) for _ in range(2)]

    def step(ds: xr.Dataset) -> xr.Dataset:
        out = ds.isel(dict(zip(ds["counts"].dims, parts, strict=True)))
        return out if min(out["counts"].shape) > 1 else ds

    return step


@st.composite
def _coarsening(draw: st.DrawFn) -> Step:
    factors = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))

    def step(ds: xr.Dataset) -> xr.Dataset:
        dims = dict(zip(ds["counts"].dims, factors, strict=True))
        if any(ds.sizes[dim] < 2 * factor for dim, factor in dims.items()):
            return ds
        return ds.coarsen(dims, boundary="trim").mean()

    return step


@st.composite
def _rejoining(draw: st.DrawFn) -> Step:
    axis, cut = draw(st.integers(0, 1)), draw(st.integers(1, 5))

    def step(ds: xr.Dataset) -> xr.Dataset:
        dim = ds["counts"].dims[axis]
        parts = [part for part in (ds.isel({dim: slice(cut)}), ds.isel({dim: slice(cut, None)})) if part.sizes[dim]]
        return xr.concat(parts, dim, data_vars="minimal", coords="minimal", compat="override", join="exact")

    return step


def separation(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> Floats:
    """Distance of positions (lon, lat), deg; NaN where either is off the sky."""
    vectors = []
    for lon, lat in (a, b):
        phi, theta = np.radians(lon), np.radians(lat)
        vectors.append(np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), np.sin(theta)]))
    distance: Floats = np.degrees(np.linalg.norm(vectors[0] - vectors[1], axis=0))
    return distance
