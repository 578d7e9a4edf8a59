"""On/off counts data of gamma-ray astronomy in xarray.

Each dataset is a plain `xarray.Dataset`; importing xonoff registers the accessor ``ds.onoff``.
"""

__version__ = "0.1.0"

from xonoff import masks, stats, tutorial
from xonoff.accessor import OnOffAccessor
from xonoff.axes import energy_edges
from xonoff.combine import stack
from xonoff.errors import FormatError, GeometryError, ModelError, SchemaError, XonoffError
from xonoff.geometry import Geom
from xonoff.io.backend import open_dataset
from xonoff.skygrid import SkyGrid
from xonoff.validity import validate

__all__ = [
    "FormatError",
    "Geom",
    "GeometryError",
    "ModelError",
    "OnOffAccessor",
    "SchemaError",
    "SkyGrid",
    "XonoffError",
    "__version__",
    "energy_edges",
    "masks",
    "open_dataset",
    "stack",
    "stats",
    "tutorial",
    "validate",
]
