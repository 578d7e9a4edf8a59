"""On/off counts data of gamma-ray astronomy in xarray.

Each dataset is a plain `xarray.Dataset`; importing xonoff registers the accessor ``ds.onoff``.
"""

__version__ = "0.1.0"

from xonoff import masks, psf, stats, tutorial
from xonoff.accessor import OnOffAccessor
from xonoff.axes import energy_edges
from xonoff.combine import stack
from xonoff.create import ResponseGeom, create, from_geoms, from_map_dataset
from xonoff.errors import (
    DamagedRunWarning,
    FormatError,
    GeometryError,
    LowCountsWarning,
    ModelError,
    NoOffRegionsWarning,
    SchemaError,
    XonoffError,
)
from xonoff.geometry import Geom
from xonoff.io.backend import open_dataset
from xonoff.io.hdulist import from_hdulist
from xonoff.io.project import from_dict, open_datasets, save_datasets
from xonoff.off_regions import on_off_spectrum
from xonoff.pairs import from_on_off_pair
from xonoff.reflected import reflected_regions, reflected_spectrum
from xonoff.skygrid import SkyGrid
from xonoff.validity import validate


def __getattr__(name: str) -> object:
    """Import what needs astropy.modeling when it is asked for, for that takes longer than all the rest."""
    import importlib

    if name == "models":
        return importlib.import_module("xonoff.models")
    modules = {
        "Archive": "archive",
        "FitResult": "fit_result",
        "Likelihood": "likelihood",
        "Predictor": "predictor",
        "adaptive_ring_background": "backgrounds",
        "calibrate": "calibration",
        "correlate": "correlation",
        "excess_map": "correlation",
        "exclusion_mask": "exclusion",
        "fit": "fitting",
        "joint_map": "joint",
        "norm_bias": "low_counts",
        "find_peaks": "peaks",
        "flux_points": "sed",
        "integral_flux": "error_band",
        "plot_contour": "fit_plot",
        "plot_profile": "fit_plot",
        "plot_significance": "histogram",
        "plot_regions": "region_plot",
        "plot_spectrum": "sed_plot",
        "read_sed": "io.sed",
        "ring_background": "backgrounds",
        "significance_histogram": "histogram",
        "source_ts": "ts",
        "stat_contour": "profiles",
        "stat_profile": "profiles",
        "spectrum_band": "error_band",
        "ts_map": "source_scan",
        "write_sed": "io.sed",
    }
    if name in modules:
        return getattr(importlib.import_module(f"xonoff.{modules[name]}"), name)
    raise AttributeError(f"module 'xonoff' has no attribute {name!r}")


__all__ = [
    "Archive",
    "DamagedRunWarning",
    "FitResult",
    "FormatError",
    "Geom",
    "GeometryError",
    "Likelihood",
    "LowCountsWarning",
    "ModelError",
    "NoOffRegionsWarning",
    "OnOffAccessor",
    "Predictor",
    "ResponseGeom",
    "SchemaError",
    "SkyGrid",
    "XonoffError",
    "__version__",
    "adaptive_ring_background",
    "calibrate",
    "correlate",
    "create",
    "energy_edges",
    "excess_map",
    "exclusion_mask",
    "fit",
    "flux_points",
    "from_dict",
    "from_geoms",
    "from_hdulist",
    "from_map_dataset",
    "from_on_off_pair",
    "integral_flux",
    "joint_map",
    "masks",
    "models",
    "norm_bias",
    "on_off_spectrum",
    "open_dataset",
    "open_datasets",
    "plot_contour",
    "plot_profile",
    "plot_regions",
    "plot_significance",
    "plot_spectrum",
    "psf",
    "read_sed",
    "reflected_regions",
    "reflected_spectrum",
    "ring_background",
    "save_datasets",
    "significance_histogram",
    "source_ts",
    "spectrum_band",
    "stack",
    "stat_contour",
    "stat_profile",
    "stats",
    "ts_map",
    "tutorial",
    "validate",
    "write_sed",
]
