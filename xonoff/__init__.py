"""On/off counts data of gamma-ray astronomy in xarray.

Each dataset is a plain `xarray.Dataset`; importing xonoff registers the accessor ``ds.onoff``.
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING

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
from xonoff.typed import OnOffDataset
from xonoff.validity import validate
from xonoff.versions import show_versions

if TYPE_CHECKING:  # what `__getattr__` imports when it is asked for
    from xonoff import interop, models, plot
    from xonoff.archive import Archive
    from xonoff.backgrounds import adaptive_ring_background, ring_background
    from xonoff.calibration import calibrate
    from xonoff.correlation import correlate, excess_map
    from xonoff.error_band import integral_flux, spectrum_band
    from xonoff.exclusion import exclusion_mask
    from xonoff.fit_plot import plot_contour, plot_profile
    from xonoff.fit_result import FitResult
    from xonoff.fitting import fit
    from xonoff.histogram import plot_significance, significance_histogram
    from xonoff.interactive import explore
    from xonoff.io.sed import read_sed, write_sed
    from xonoff.joint import joint_map
    from xonoff.likelihood import Likelihood
    from xonoff.low_counts import norm_bias
    from xonoff.map_plot import sky_map
    from xonoff.peaks import find_peaks
    from xonoff.predictor import Predictor
    from xonoff.profiles import stat_contour, stat_profile
    from xonoff.region_plot import plot_regions
    from xonoff.sed import flux_points
    from xonoff.sed_plot import plot_spectrum
    from xonoff.source_scan import ts_map
    from xonoff.ts import source_ts


def __getattr__(name: str) -> object:
    """Import what needs astropy.modeling when it is asked for, for that takes longer than all the rest."""
    import importlib

    if name in ("interop", "models", "plot"):
        return importlib.import_module(f"xonoff.{name}")
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
        "explore": "interactive",
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
        "sky_map": "map_plot",
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


def __dir__() -> list[str]:
    """Public names, also those that are imported when they are asked for."""
    return sorted(__all__)


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
    "OnOffDataset",
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
    "explore",
    "find_peaks",
    "fit",
    "flux_points",
    "from_dict",
    "from_geoms",
    "from_hdulist",
    "from_map_dataset",
    "from_on_off_pair",
    "integral_flux",
    "interop",
    "joint_map",
    "masks",
    "models",
    "norm_bias",
    "on_off_spectrum",
    "open_dataset",
    "open_datasets",
    "plot",
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
    "show_versions",
    "significance_histogram",
    "sky_map",
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
