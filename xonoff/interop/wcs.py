"""Sky grids as WCS objects of astropy, and back, without the rounding of FITS cards."""

from typing import TYPE_CHECKING, Any

import numpy as np

from xonoff.errors import GeometryError
from xonoff.skygrid import SkyGrid

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["from_wcs", "to_wcs"]


def to_wcs(sky: SkyGrid) -> "WCS":
    """WCS of a sky grid with pixel sizes in CDELT, where other packages look for them.

    `SkyGrid.wcs` is the same WCS with a CD matrix, whose CDELT mean nothing.

    Parameters
    ----------
    sky : SkyGrid

    Returns
    -------
    WCS
        With its ``array_shape``.

    Examples
    --------
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(3, 5), pixel_size=0.1)
    >>> to_wcs(sky).wcs.cdelt.tolist(), to_wcs(sky).array_shape
    ([-0.1, 0.1], (3, 5))
    """
    from astropy.wcs import WCS

    own, cd = sky.wcs.wcs, sky.wcs.wcs.cd
    sizes = np.hypot(*cd) * np.array([-1.0, 1.0])
    upright = cd[0, 1] == 0 == cd[1, 0]
    wcs = WCS(naxis=2)
    for key in ("ctype", "cunit", "crpix", "crval", "lonpole", "latpole", "radesys", "equinox"):
        setattr(wcs.wcs, key, getattr(own, key))
    wcs.wcs.cdelt = np.diag(cd) if upright else sizes
    if not upright:
        wcs.wcs.pc = cd / sizes[:, None]
    wcs.wcs.set_pv(own.get_pv())
    wcs.wcs.set()
    wcs.array_shape = sky.shape
    return wcs


def from_wcs(wcs: "WCS", shape: tuple[int, int] | None = None) -> SkyGrid:
    """Sky grid of a celestial WCS.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Of two celestial axes, longitude first; take ``wcs.celestial`` of a cube.
    shape : (int, int), optional
        Pixels along latitude and longitude; ``wcs.array_shape`` by default.

    Returns
    -------
    SkyGrid

    Raises
    ------
    GeometryError
        If the WCS is not celestial or is distorted, or there is no shape.

    Examples
    --------
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(3, 5), pixel_size=0.1, projection="TAN")
    >>> from_wcs(to_wcs(sky)) == sky
    True
    """
    pixels = wcs.array_shape if shape is None else shape
    if pixels is None or len(pixels) != 2:
        raise GeometryError(f"wcs: an array_shape of {pixels} found, (ny, nx) accepted: give shape=(ny, nx)")
    if wcs.naxis != 2:
        raise GeometryError(f"wcs: {wcs.naxis} axes found, two celestial ones accepted: take wcs.celestial")
    if wcs.has_distortion:
        raise GeometryError("wcs: distorted pixels found, a plain projection accepted: resample the map onto one")
    own = wcs.wcs
    cards: dict[str, Any] = {}
    for i in range(2):
        cards |= {f"CTYPE{i + 1}": str(own.ctype[i]), f"CUNIT{i + 1}": str(own.cunit[i])}
        cards |= {f"CRPIX{i + 1}": float(own.crpix[i]), f"CRVAL{i + 1}": float(own.crval[i])}
    cards |= {f"CDELT{i + 1}": float(size) for i, size in enumerate(own.get_cdelt())}  # 1 where there is a CD matrix
    cards |= {f"PC{i + 1}_{j + 1}": float(own.get_pc()[i, j]) for i, j in np.ndindex(2, 2)}
    cards |= {key: float(v) for key, v in (("LONPOLE", own.lonpole), ("LATPOLE", own.latpole)) if np.isfinite(v)}
    cards |= {"RADESYS": own.radesys} if own.radesys else {}
    cards |= {"EQUINOX": float(own.equinox)} if np.isfinite(own.equinox) and own.radesys != "ICRS" else {}
    cards |= {f"PV{i}_{m}": float(value) for i, m, value in own.get_pv()}
    return SkyGrid.from_header(cards, (int(pixels[0]), int(pixels[1])))
