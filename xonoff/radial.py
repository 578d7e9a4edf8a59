"""Radial profiles: what a source of some extent makes of the PSF, in distances on the sphere.

A profile is its values at radii between which it is linear. The convolution of two profiles is an integral over the
narrower of both: over the source where it is smaller than the bins of the PSF, so that any size is right down to a
point; else over the PSF, with the brightness of the source averaged around circles.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from xonoff.models.shapes import DiskSource, GaussianSource, PointSource, Shape, ShellSource
from xonoff.rings import circle_weights, ring_sums
from xonoff.stats.threads import product

__all__ = ["bin_of", "broadened", "core", "cut", "flattened", "over_the_psf", "profile_of"]

Floats = npt.NDArray[np.float64]

#: Radii at most beyond those of the PSF.
MOST = 2000
#: Bins of the PSF up to which a source counts as small: a shell, whose averages around circles are slow, and others.
SMALL_SHELL, SMALL = 6, 1.5
#: Points on each half circle of a small source, and parts of its radius in which one sees the ends of the PSF.
POINTS, PARTS = 32, 8
#: Rings of the PSF to the extent of a source, within which Gauss-Legendre rules of four points do.
RINGS = 16
#: Share of its maximum, and of all events, by which a profile may differ from a straight line; halvings to get there.
STRAIGHT, RING, HALVINGS = 1.5e-4, 1e-5, 12
#: Part of that for Gaussians whose sigma has so many bins of the PSF or more: it goes over to that of `xonoff.wide`.
STRAIGHTER = (6.0, 12.0), (1.0, 0.05)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
#: Rules for each ring of the PSF, by their number of nodes.
RULES = {n: np.polynomial.legendre.leggauss(n) for n in (1, 2, 4)}
DEG2 = np.radians(1.0) ** 2


def profile_of(shape: Shape) -> tuple[Floats, Floats]:
    """Profile of a radial shape itself, without PSF.

    Returns
    -------
    values : ndarray (radius,), deg-2
        Of the plane around the source, in which their integral is 1.
    radii : ndarray (radius,), deg

    Examples
    --------
    >>> values, radii = profile_of(DiskSource(0, 0, 0.5))
    >>> radii.tolist(), bool(np.isclose(values[0] * np.pi * 0.25, 1, rtol=1e-4))
    ([0.0, 0.5], True)
    """
    *_, extent = breaks = _breaks(shape)
    if isinstance(shape, DiskSource) and extent < 1:
        radii = np.array([0.0, extent])
    elif isinstance(shape, ShellSource):  # fine where it is steep, at its edges
        ease = (1 - np.cos(np.linspace(0, np.pi, 65))) / 2
        radii = np.unique(np.concatenate([a + (b - a) * ease for a, b in pairwise(breaks)]))
    else:
        radii = np.linspace(0, extent, 200)
    inside = np.radians(radii) * (1 - 1e-12)  # so is the last one
    return _normalised(_brightness(shape)(inside) * flattened(radii), radii), radii


def broadened(values: Floats, radii: Floats, shape: Shape) -> tuple[Floats, Floats]:
    """Profile of a radial shape seen with a PSF.

    Parameters
    ----------
    values : ndarray (energy, radius), deg-2
        The PSF, see `xonoff.psf.psf_profile`.
    radii : ndarray (radius,), deg
    shape : Shape

    Returns
    -------
    values : ndarray (energy, other radius), deg-2
        Of 1 in all, or of 0 where there is no PSF.
    radii : ndarray (other radius,), deg

    Examples
    --------
    >>> radii = np.linspace(0, 0.6, 61)
    >>> psf = np.exp(-(radii**2) / (2 * 0.1**2))[None]
    >>> seen, wider = broadened(psf / (psf @ circle_weights(radii)), radii, GaussianSource(0, 0, 0.1))
    >>> at_0 = 1 / (2 * np.pi * (0.1**2 + 0.1**2))
    >>> bool(abs(seen[0, 0] / at_0 - 1) < 1e-3)
    True
    """
    if isinstance(shape, PointSource):
        return values, radii
    extent, bins = float(_breaks(shape)[-1]), bin_of(radii)
    end = min(float(radii[-1]) + extent, 179.0)
    # Where the PSF has its own, halfway, and a source off its edges.
    edges = [0.0, *(edge + part for edge in (radii[0], radii[-1]) for part in (-extent, extent))]
    within = np.concatenate([edges, radii, (radii[1:] + radii[:-1]) / 2])
    beyond = np.linspace(radii[-1], end, min(int(np.ceil(2 * extent / bins)), MOST) + 1)
    wider = np.unique(np.concatenate([within[(within >= 0) & (within < radii[-1])], beyond]))
    small = extent <= (SMALL_SHELL if isinstance(shape, ShellSource) else SMALL) * bins
    seen = partial(_over_the_source if small else over_the_psf, values, radii, shape)
    straighter = np.interp(shape.sigma.value / bins, *STRAIGHTER) if isinstance(shape, GaussianSource) else 1.0
    return _followed(lambda r: seen(r) * flattened(r), wider, float(straighter))


def cut(values: Floats, radii: Floats, beyond: float) -> tuple[Floats, Floats]:
    """Profile without its outermost part, that holds at most a share ``beyond`` at any energy; still of 1 in all.

    Examples
    --------
    >>> radii = np.linspace(0, 1, 101)
    >>> psf = _normalised(np.exp(-(radii**2) / (2 * 0.1**2))[None], radii)
    >>> cut(psf, radii, 1e-6)[1][-1].round(2)
    np.float64(0.53)
    """
    tails = np.cumsum(ring_sums(values, radii)[..., ::-1], axis=-1)[..., ::-1]
    needed = int(np.count_nonzero((tails > beyond).any(axis=tuple(range(tails.ndim - 1)))))
    kept = slice(0, max(needed, 1) + 1)
    return _normalised(values[..., kept], radii[kept]), radii[kept]


def core(values: Floats, radii: Floats) -> float:
    """Radius that holds 39 % of a PSF, the sigma of a Gaussian, at the energy where it is smallest; at least a bin."""
    within = np.cumsum(ring_sums(values, radii), axis=1)
    found = [float(np.interp(0.39, row, radii[1:])) for row in within if row[-1] > 0]
    return max(min(found, default=float(radii[-1])), bin_of(radii))


def over_the_psf(values: Floats, radii: Floats, shape: Shape, wider: Floats) -> Floats:
    """Density on the sphere of what is seen of a source, at some radii: (energy, radius), deg-2.

    The brightness of the source is averaged around circles about each radius, and these over the PSF.
    """
    across = shape.extent / np.diff(radii).max()
    smooth = isinstance(shape, GaussianSource)
    nodes, weights = RULES[1 if smooth and across > 100 else 2 if across > 20 else 4]
    edges = _breaks(shape)
    cuts = np.unique(np.concatenate([radii, edges[(edges > radii[0]) & (edges < radii[-1])]]))
    parts = np.ceil(np.diff(cuts) * RINGS / shape.extent).astype(int)
    if (parts > 1).any():
        finer = [np.linspace(a, b, n + 1)[:-1] for a, b, n in zip(cuts[:-1], cuts[1:], parts, strict=True)]
        cuts = np.concatenate([*finer, cuts[-1:]])
    half = np.diff(cuts)[:, None] / 2
    circles = (cuts[:-1, None] + half * (1 + nodes)).ravel()
    ring = (half * weights).ravel() * 2 * np.pi * circles
    share = np.array([np.interp(circles, radii, row) for row in values]) * ring
    mean = _gaussian_around if smooth else _mean_around
    around: Floats = mean(shape, np.radians(wider)[:, None], np.radians(circles))
    found: Floats = product(share, around.T) * DEG2
    return found


def flattened(radii: Floats) -> Floats:
    """Solid angle of a ring of the sphere over its area in the plane."""
    return np.sinc(radii / 180)


def bin_of(radii: Floats) -> float:
    """Width of the narrow bins of a PSF, deg, but for the half ones that its axis begins and ends with."""
    return float(np.sort(np.diff(radii))[min(2, radii.size - 2)])


# -- how it is done ---------------------------------------------------------------------------------------------------


def _normalised(values: Floats, radii: Floats) -> Floats:
    total = np.asarray(values @ circle_weights(radii))
    return np.asarray(values / np.where(total > 0, total, 1)[..., None])


def _followed(profile: Callable[[Floats], Floats], radii: Floats, straighter: float = 1.0) -> tuple[Floats, Floats]:
    """Values and radii of a profile, with more radii where straight lines between those given do not follow it."""
    values, open_ = profile(radii), np.ones(radii.size - 1, dtype=bool)
    for _ in range(HALVINGS):
        middle = (radii[1:] + radii[:-1])[open_] / 2
        if not middle.size or radii.size > MOST:
            break
        there = profile(middle)
        off = np.abs(there - (values[:, 1:] + values[:, :-1])[:, open_] / 2)
        rings = np.pi * np.diff(radii**2)[open_]
        most = straighter * np.minimum(STRAIGHT * values.max(axis=1, keepdims=True), RING / rings)
        bent = (off > most).any(axis=0)
        at = np.flatnonzero(open_)[bent] + 1
        radii, values = np.insert(radii, at, middle[bent]), np.insert(values, at, there[:, bent], axis=1)
        open_ = np.isin(radii[:-1], middle[bent]) | np.isin(radii[1:], middle[bent])
    return _normalised(values, radii), radii


def _breaks(shape: Shape) -> Floats:
    """Radii between which the brightness of a shape is smooth, deg: from 0 to where nothing more lies."""
    inner = [float(shape.radius.value)] if isinstance(shape, ShellSource) else []
    return np.unique([0.0, *inner, shape.extent])


def _brightness(shape: Shape) -> Callable[[Floats], Floats]:
    """Surface brightness at distances from the source, radians, sr-1."""
    sizes = [getattr(shape, name).value for name in shape.param_names[2:]]
    return lambda distance: np.asarray(shape.evaluate(np.degrees(distance), 0.0, 0.0, 0.0, *sizes))


def _versine(angle: Any) -> Any:
    return 2 * np.sin(angle / 2) ** 2


def _gauss(lo: Any, hi: Any) -> tuple[Floats, Floats]:
    """Nodes and weights of an integral from ``lo`` to ``hi``, along a new last axis."""
    half = (np.asarray(hi) - lo)[..., None] / 2
    return np.asarray(lo)[..., None] + half * (1 + NODES), half * WEIGHTS


def _over_the_source(values: Floats, radii: Floats, shape: Shape, wider: Floats) -> Floats:
    """PSF averaged over the points of a small source, as seen from each radius."""
    distance, share = _rings(shape, _breaks(shape))
    around = (np.arange(POINTS) + 0.5) * (np.pi / POINTS)
    apart = np.degrees(_distance(np.radians(wider)[:, None, None], distance[:, None], around))
    apart = np.clip(apart.reshape(wider.size, distance.size * POINTS), radii[0], radii[-1])
    share = np.repeat(share / POINTS, POINTS)
    k = np.clip(np.searchsorted(radii, apart, side="right") - 1, 0, radii.size - 2)
    part = (apart - radii[k]) / np.diff(radii)[k]
    cells = np.arange(wider.size)[:, None] * radii.size + k
    matrix: Floats = np.zeros((wider.size, radii.size))
    for cell, weight in ((cells, (1 - part) * share), (cells + 1, part * share)):
        matrix += np.bincount(cell.ravel(), weight.ravel(), matrix.size).reshape(matrix.shape)
    # So far it goes on beyond its ends as it is there.
    matrix[:, 0] -= _share_within(shape, radii[0], wider)
    matrix[:, -1] -= 1 - _share_within(shape, radii[-1], wider)
    return np.maximum(product(values, matrix.T), 0.0)


def _rings(shape: Shape, cuts: Floats) -> tuple[Floats, Floats]:
    """Radii, in radians, of rings of a source, by a rule between cuts, deg, and their shares of it."""
    edges = np.radians(cuts)
    distance, weight = (part.ravel() for part in _gauss(edges[:-1], edges[1:]))
    weight = weight * _brightness(shape)(distance) * np.sin(distance)
    return distance, weight / weight.sum()


def _share_within(shape: Shape, edge: float, wider: Floats) -> Floats:
    """Share of a source within a distance of positions at radii from it."""
    found = np.asarray((wider < edge).astype(np.float64))
    near = np.abs(wider - edge) < shape.extent
    breaks = _breaks(shape)
    cuts = np.unique(np.linspace(breaks[:-1], breaks[1:], PARTS + 1))
    rho, share = _rings(shape, cuts)
    found[near] = _angle_within(edge, np.radians(wider[near])[:, None], rho) @ share / np.pi
    return found


def _distance(r: Any, rho: Any, angle: Any) -> Any:
    """Distance of a point at ``r`` from one on a circle ``rho`` about the same centre, radians."""
    versine = _versine(r - rho) + np.sin(r) * np.sin(rho) * _versine(angle)
    return 2 * np.arcsin(np.sqrt(np.clip(versine / 2, 0, 1)))


def _gaussian_around(shape: Shape, r: Floats, rho: Floats) -> Floats:
    r"""Mean of a Gaussian around circles: ``exp(-z (1 - cos angle))`` has the mean ``exp(-z) I_0(z)``."""
    from scipy.special import i0e

    steep = 1 / (2 * _versine(np.radians(float(shape.sigma.value))))
    middle = float(_brightness(shape)(np.zeros(1))[0])
    apart = np.sin(r / 2) * np.cos(rho / 2) - np.cos(r / 2) * np.sin(rho / 2)  # the sine of half r - rho
    return np.asarray(middle * np.exp(-2 * steep * apart**2) * i0e(steep * np.sin(r) * np.sin(rho)))


def _angle_within(edge: float, r: Any, rho: Any) -> Floats:
    """Angle up to which a circle of a radius ``rho``, at a distance ``r``, lies within ``edge``, deg."""
    area = np.maximum(np.sin(r) * np.sin(rho), 1e-300)
    return np.asarray(np.arccos(np.clip(1 - (_versine(np.radians(edge)) - _versine(r - rho)) / area, -1, 1)))


def _mean_around(shape: Shape, r: Floats, rho: Floats) -> Floats:
    """Mean of a shape around circles, piece by piece between its edges."""
    edges = [_angle_within(edge, r, rho) for edge in _breaks(shape)[1:]]
    brightness = _brightness(shape)
    if isinstance(shape, DiskSource):
        return np.asarray(brightness(np.zeros(1)) * edges[0] / np.pi)
    total = np.zeros(np.broadcast_shapes(r.shape, rho.shape))
    start = np.zeros(total.shape)
    for stop in edges:
        angle, weight = _gauss(start, np.maximum(stop, start))
        total += (brightness(_distance(r[..., None], rho[..., None], angle)) * weight).sum(axis=-1) / np.pi
        start = stop
    return total
