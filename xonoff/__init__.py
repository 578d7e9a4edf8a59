"""On/off counts data of gamma-ray astronomy in xarray.

Each dataset is a plain `xarray.Dataset`; importing xonoff registers the accessor ``ds.onoff``.
"""

__version__ = "0.1.0"

from xonoff import masks, psf, stats, tutorial
from xonoff.accessor import OnOffAccessor
from xonoff.axes import energy_edges
from xonoff.combine import stack
from xonoff.create import ResponseGeom, create, from_geoms, from_map_dataset
from xonoff.errors import FormatError, GeometryError, LowCountsWarning, ModelError, SchemaError, XonoffError
from xonoff.geometry import Geom
from xonoff.io.backend import open_dataset
from xonoff.io.hdulist import from_hdulist
from xonoff.io.project import from_dict, open_datasets, save_datasets
from xonoff.skygrid import SkyGrid
from xonoff.validity import validate


def __getattr__(name: str) -> object:
    """Import what needs astropy.modeling when it is asked for, for that takes longer than all the rest."""
    import importlib

    if name == "models":
        return importlib.import_module("xonoff.models")
    modules = {
        "FitResult": "fit_result",
        "Likelihood": "likelihood",
        "Predictor": "predictor",
        "calibrate": "calibration",
        "fit": "fitting",
        "norm_bias": "low_counts",
        "flux_points": "sed",
        "integral_flux": "error_band",
        "plot_contour": "fit_plot",
        "plot_profile": "fit_plot",
        "plot_spectrum": "sed_plot",
        "read_sed": "io.sed",
        "source_ts": "ts",
        "stat_contour": "profiles",
        "stat_profile": "profiles",
        "spectrum_band": "error_band",
        "write_sed": "io.sed",
    }
    if name in modules:
        return getattr(importlib.import_module(f"xonoff.{modules[name]}"), name)
    raise AttributeError(f"module 'xonoff' has no attribute {name!r}")


__all__ = [
    "FitResult",
    "FormatError",
    "Geom",
    "GeometryError",
    "Likelihood",
    "LowCountsWarning",
    "ModelError",
    "OnOffAccessor",
    "Predictor",
    "ResponseGeom",
    "SchemaError",
    "SkyGrid",
    "XonoffError",
    "__version__",
    "calibrate",
    "create",
    "energy_edges",
    "fit",
    "flux_points",
    "from_dict",
    "from_geoms",
    "from_hdulist",
    "from_map_dataset",
    "integral_flux",
    "masks",
    "models",
    "norm_bias",
    "open_dataset",
    "open_datasets",
    "plot_contour",
    "plot_profile",
    "plot_spectrum",
    "psf",
    "read_sed",
    "save_datasets",
    "source_ts",
    "spectrum_band",
    "stack",
    "stat_contour",
    "stat_profile",
    "stats",
    "tutorial",
    "validate",
    "write_sed",
]
