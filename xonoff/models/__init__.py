"""Models of the sky: spectra of any astropy 1-D model, shapes on the sphere, and both together in a `SkyModel`."""

from astropy.modeling.powerlaws import (
    BrokenPowerLaw1D,
    ExponentialCutoffPowerLaw1D,
    LogParabola1D,
    PowerLaw1D,
    SmoothlyBrokenPowerLaw1D,
)

from xonoff.models.assigned import assign_models, models_of
from xonoff.models.integration import energy_integral, integral
from xonoff.models.shapes import (
    ConstantSource,
    DiskSource,
    GaussianSource,
    PointSource,
    Shape,
    ShellSource,
    TemplateSource,
)
from xonoff.models.skymodel import SkyModel, model_list, named_parameters, parameters
from xonoff.models.spectra import FLUX_UNIT, Absorption, TemplateSpectrum, flux
from xonoff.models.text import from_json, to_json

__all__ = [
    "FLUX_UNIT",
    "Absorption",
    "BrokenPowerLaw1D",
    "ConstantSource",
    "DiskSource",
    "ExponentialCutoffPowerLaw1D",
    "GaussianSource",
    "LogParabola1D",
    "PointSource",
    "PowerLaw1D",
    "Shape",
    "ShellSource",
    "SkyModel",
    "SmoothlyBrokenPowerLaw1D",
    "TemplateSource",
    "TemplateSpectrum",
    "assign_models",
    "energy_integral",
    "flux",
    "from_json",
    "integral",
    "model_list",
    "models_of",
    "named_parameters",
    "parameters",
    "to_json",
]
