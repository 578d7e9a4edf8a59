"""The errors xonoff raises.

All are a `ValueError` under one `XonoffError`, so that a caller can catch bad input of any kind with one
``except`` and still tell the kinds apart. A message names the file, HDU, variable or card, what was found, what
would be accepted, and the next step.
"""

__all__ = ["DamagedRunWarning", "FormatError", "GeometryError", "LowCountsWarning", "ModelError", "NoOffRegionsWarning"]
__all__ += ["SchemaError", "XonoffError"]


class XonoffError(ValueError):
    """Any input that xonoff refuses."""


class SchemaError(XonoffError):
    """A dataset does not follow the data model: a variable, dimension, unit or value is wrong or missing."""


class GeometryError(XonoffError):
    """Sky grids or energy axes are unusable, or do not fit each other."""


class FormatError(XonoffError):
    """A file is damaged, truncated or not of a known layout."""


class ModelError(XonoffError):
    """A sky model, or the JSON text that describes one, cannot be used."""


class LowCountsWarning(UserWarning):
    """Counts are so few that a fit to them is biased."""


class DamagedRunWarning(UserWarning):
    """Runs of an archive cannot be read; the others can."""


class NoOffRegionsWarning(UserWarning):
    """No place is left for an off region: there is no background, and all bins are outside of ``mask_safe``."""
