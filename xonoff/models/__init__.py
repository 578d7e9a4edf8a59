"""Models of the sky: spectra of any astropy 1-D model, and their integrals over bins of energy."""

from astropy.modeling.powerlaws import (
    BrokenPowerLaw1D,
    ExponentialCutoffPowerLaw1D,
    LogParabola1D,
    PowerLaw1D,
    SmoothlyBrokenPowerLaw1D,
)

from xonoff.models.integration import integral
from xonoff.models.spectra import FLUX_UNIT, Absorption, TemplateSpectrum, flux

__all__ = [
    "FLUX_UNIT",
    "Absorption",
    "BrokenPowerLaw1D",
    "ExponentialCutoffPowerLaw1D",
    "LogParabola1D",
    "PowerLaw1D",
    "SmoothlyBrokenPowerLaw1D",
    "TemplateSpectrum",
    "flux",
    "integral",
]
