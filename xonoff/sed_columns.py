"""What a spectrum in points is made of: names of the field's SED format, their units, and how they follow from norms.

References
----------
gamma-astro-data-formats, "SED" and "Bin-by-bin likelihood profiles".
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from astropy.modeling import Model

from xonoff.axes import bin_centers
from xonoff.models.integration import energy_integral, integral
from xonoff.models.spectra import flux

__all__ = ["FLUXES", "QUANTITIES", "SUFFIXES", "labelled", "reference_fluxes", "with_fluxes"]

#: Ways to write a flux, and their units.
FLUXES = {"dnde": "cm-2 s-1 TeV-1", "e2dnde": "TeV cm-2 s-1", "flux": "cm-2 s-1", "eflux": "TeV cm-2 s-1"}
#: What is said of a flux or a norm, and in which words.
SUFFIXES = {
    "": "",
    "_err": "symmetric error of the ",
    "_errn": "error downwards of the ",
    "_errp": "error upwards of the ",
    "_ul": "upper limit of the ",
}
_LONG = {
    "norm": "flux over that of the reference spectrum",
    "dnde": "flux per energy",
    "e2dnde": "energy squared times flux per energy",
    "flux": "integral flux",
    "eflux": "integral energy flux",
}
#: Units and descriptions of all quantities, in the order in which they are in a dataset and in a file.
QUANTITIES: dict[str, tuple[str, str]] = {
    **{f"norm{suffix}": ("1", words + _LONG["norm"]) for suffix, words in SUFFIXES.items()},
    **{f"ref_{name}": (unit, f"{_LONG[name]} of the reference spectrum") for name, unit in FLUXES.items()},
    **{
        f"{name}{suffix}": (unit, words + _LONG[name])
        for name, unit in FLUXES.items()
        for suffix, words in SUFFIXES.items()
    },
    "ts": ("1", "WStat without the source minus that with it"),
    "sqrt_ts": ("1", "square root of the ts, with the sign of the norm"),
    "stat": ("1", "WStat at the norm, over the bins that the source reaches"),
    "stat_null": ("1", "WStat of a norm of 0, over the same bins"),
    "stat_scan": ("1", "WStat of the norms of norm_scan, over the same bins"),
    "counts": ("1", "on counts in these bins"),
    "npred": ("1", "counts predicted in these bins, with the background"),
    "npred_signal": ("1", "counts predicted of the source in these bins"),
    "ref_npred": ("1", "counts predicted of the reference spectrum in these bins"),
    "success": ("", "whether there is a norm"),
    "is_ul": ("", "whether the point is to be shown as an upper limit"),
}


def labelled(arrays: Mapping[str, Any], coords: Mapping[str, Any], attrs: Mapping[str, Any]) -> xr.Dataset:
    """Dataset of quantities on ``energy``, those of two dimensions on ``norm_scan`` too, with units and words.

    Examples
    --------
    >>> labelled({"norm": np.ones(2)}, {"energy": [1.0, 2.0]}, {}).norm.attrs["units"]
    '1'
    """
    variables = {}
    for name, (unit, words) in QUANTITIES.items():
        if name in arrays:
            values = np.asarray(arrays[name])
            described = {"units": unit, "long_name": words} if unit else {"long_name": words}
            variables[name] = xr.Variable(("energy", "norm_scan")[: values.ndim], values, described)
    return xr.Dataset(variables, coords, dict(attrs))


def reference_fluxes(spectrum: Model, edges: Any) -> dict[str, Any]:
    """Fluxes of a spectrum in bins of energy, under their names; those per energy at the logarithmic middle.

    Examples
    --------
    >>> from xonoff.models import PowerLaw1D
    >>> {name: float(values[0].round(15)) for name, values in reference_fluxes(PowerLaw1D(1e-12, 1, 2), [1, 4]).items()}
    {'ref_dnde': 2.5e-13, 'ref_e2dnde': 1e-12, 'ref_flux': 7.5e-13, 'ref_eflux': 1.386e-12}
    """
    bounds = np.stack([edges[:-1], edges[1:]], axis=1).astype(np.float64)
    energy = bin_centers("energy", bounds)
    at = flux(spectrum, energy)
    return {
        "ref_dnde": at,
        "ref_e2dnde": energy**2 * at,
        "ref_flux": integral(spectrum, edges),
        "ref_eflux": energy_integral(spectrum, edges),
    }


def with_fluxes(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Quantities, and all fluxes that follow: each norm times each reference; NaN where that is 0, which says nothing.

    Examples
    --------
    >>> with_fluxes({"norm": np.array([2.0]), "ref_flux": np.array([3e-12])})["flux"]
    array([6.e-12])
    """
    norms = [suffix for suffix in SUFFIXES if f"norm{suffix}" in arrays]
    names = [name for name in FLUXES if f"ref_{name}" in arrays]
    references = {name: np.where(arrays[f"ref_{name}"] == 0, np.nan, arrays[f"ref_{name}"]) for name in names}
    fluxes = {f"{name}{suffix}": arrays[f"norm{suffix}"] * references[name] for name in names for suffix in norms}
    return {**arrays, **fluxes}
