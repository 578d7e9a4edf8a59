"""Which models of gammapy and of xonoff correspond, as data: classes, parameters, units, and the defaults of gammapy.

`SPECTRA` and `SHAPES` hold those whose parameters correspond one by one; tables (`TEMPLATE`, `ABSORPTION`) and sums and
products (`COMPOUND`) have a layout of their own in `xonoff.io.model_yaml`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from astropy import units as u
from astropy.modeling import CompoundModel, Model, Parameter
from astropy.modeling.functional_models import Const1D

from xonoff.errors import ModelError
from xonoff.models import (
    FLUX_UNIT,
    Absorption,
    BrokenPowerLaw1D,
    ConstantSource,
    DiskSource,
    ExponentialCutoffPowerLaw1D,
    GaussianSource,
    LogParabola1D,
    PointSource,
    PowerLaw1D,
    ShellSource,
    SmoothlyBrokenPowerLaw1D,
    TemplateSpectrum,
)

__all__ = [
    "ABSORPTION",
    "COMPOUND",
    "DEPTH",
    "NO_NORM",
    "NO_TILT",
    "OPERATORS",
    "POWER_LAW_NORM",
    "SHAPES",
    "SPECTRA",
    "TEMPLATE",
    "Kind",
    "Setting",
    "Settings",
    "Twin",
]


@dataclass(frozen=True)
class Setting:
    """What is set on a parameter: its value, whether it is fixed, bounds and error, None where there is none.

    Examples
    --------
    >>> Setting(10.0, low=5.0).inverted()
    Setting(value=0.1, fixed=False, low=None, high=0.2, error=None)
    """

    value: float
    fixed: bool = False
    low: float | None = None
    high: float | None = None
    error: float | None = None

    @classmethod
    def of(cls, parameter: Parameter, unit: str) -> "Setting":
        """Setting of a parameter of ours in a unit, which is its own where it has none."""
        if callable(parameter.tied):
            raise ModelError("it is tied by a function, which YAML cannot hold: set tied = False")
        try:
            factor = 1.0 if parameter.unit is None else float(parameter.unit.to(unit))
        except u.UnitsError as error:
            raise ModelError(f"unit {parameter.unit} found, one that converts to {unit or '1'!r} accepted") from error
        low, high = (
            None if bound is None or bound == none else float(bound)
            for bound, none in zip(parameter.bounds, (-np.inf, np.inf), strict=True)
        )
        if not all(math.isfinite(bound) for bound in (low, high) if bound is not None):
            raise ModelError(f"bounds {(low, high)} found, finite ones accepted, or None for no bound")
        std = None if parameter.std is None else float(parameter.std)
        return cls(float(parameter.value), bool(parameter.fixed), low, high, std).scaled(factor)

    def scaled(self, factor: float) -> "Setting":
        """Setting of this parameter times a positive factor."""
        low, high, error = (None if x is None else x * factor for x in (self.low, self.high, self.error))
        return Setting(self.value * factor, self.fixed, low, high, error)

    def inverted(self) -> "Setting":
        """Setting of 1 over this parameter."""
        if self.value <= 0:
            raise ModelError(f"{self.value} found, a number above 0 accepted: without a cut-off it is a power law")
        low, high = (1 / bound if bound is not None and bound > 0 else None for bound in (self.high, self.low))
        return Setting(1 / self.value, self.fixed, low, high, self.error and self.error / self.value / self.value)


Settings = Mapping[str, Setting]


@dataclass(frozen=True)
class Twin:
    """A parameter of gammapy and the one of ours.

    Attributes
    ----------
    theirs, ours : str
        Their names; "" if there is none of ours.
    default, frozen, low, high
        What holds in gammapy where nothing is said.
    unit : str
        Of all numbers here, and of what is written.
    inverse : bool
        Ours is 1 over theirs.
    factor : float
        Ours is theirs times this.
    accepted : (float, float)
        If there is none of ours: values of theirs that mean the same as none.
    written : float
        If there is none of ours: the one that is written.
    """

    theirs: str
    ours: str
    default: float
    unit: str = ""
    frozen: bool = False
    low: float | None = None
    high: float | None = None
    inverse: bool = False
    factor: float = 1.0
    accepted: tuple[float, float] = (-math.inf, math.inf)
    written: float = math.nan

    def from_theirs(self, theirs: Setting) -> Setting:
        """Setting of our parameter."""
        if not self.ours and not (self.accepted[0] <= theirs.value <= self.accepted[1] and theirs.fixed):
            low, high = self.accepted
            accepted = f"{low}" if low == high else f"{low} to {high}"
            raise ModelError(
                f"{theirs.value}, {'frozen' if theirs.fixed else 'free'}, found, {accepted} and frozen accepted: "
                "xonoff has no such parameter"
            )
        return (theirs.inverted() if self.inverse else theirs).scaled(self.factor)

    def to_theirs(self, ours: Setting | None) -> Setting:
        """Setting of the parameter of gammapy; None if there is none of ours."""
        if ours is None:
            return Setting(self.written, fixed=True)
        scaled = ours.scaled(1 / self.factor)
        return scaled.inverted() if self.inverse else scaled


@dataclass(frozen=True)
class Kind:
    """A class of gammapy and the one of ours.

    Attributes
    ----------
    tags : (str, str)
        Its names in YAML; the first is written.
    ours : type
    twins : tuple of Twin
        All parameters of gammapy.
    from_theirs, to_theirs : callable
        Change the settings, under our names, of parameters that do not correspond one by one.
    """

    tags: tuple[str, str]
    ours: type[Model]
    twins: tuple[Twin, ...]
    from_theirs: Callable[[Settings], Settings] = dict
    to_theirs: Callable[[Settings], Settings] = dict

    @property
    def is_flux(self) -> bool:
        """Whether its values are a flux; otherwise it is a factor of a spectrum."""
        return any(twin.unit == FLUX_UNIT for twin in self.twins)


def _smooth_from_theirs(theirs: Settings) -> Settings:
    """Amplitude and width of the break as astropy has them, from the norm and ``beta`` of gammapy."""
    gap = theirs["alpha_2"].value - theirs["alpha_1"].value
    reference, x_break = theirs["reference"], theirs["x_break"].value
    if gap == 0:
        raise ModelError("index1 = index2 found: without a break write a PowerLawSpectralModel")
    if not reference.fixed:
        raise ModelError("a reference that is free found, a frozen one accepted")
    norm = theirs["alpha_1"].value * (math.log(reference.value) - math.log(x_break))
    amplitude = theirs["amplitude"].scaled(_exp(norm - math.copysign(theirs["delta"].value, gap) * math.log(2)))
    changed = {"amplitude": amplitude, "delta": theirs["delta"].scaled(1 / abs(gap))}
    return {name: changed.get(name, setting) for name, setting in theirs.items() if name != "reference"}


def _smooth_to_theirs(ours: Settings) -> Settings:
    """Norm and ``beta`` of gammapy, with the break as the reference."""
    gap = ours["alpha_2"].value - ours["alpha_1"].value
    if gap == 0:
        raise ModelError("alpha_1 = alpha_2 found: without a break write a PowerLaw1D")
    amplitude = ours["amplitude"].scaled(_exp(gap * ours["delta"].value * math.log(2)))
    delta, reference = ours["delta"].scaled(abs(gap)), Setting(ours["x_break"].value, fixed=True)
    return {**ours, "amplitude": amplitude, "delta": delta, "reference": reference}


def _exp(log: float) -> float:
    if not abs(log) < 700:
        raise ModelError("an amplitude found that is too large or too small a number as the other side has it")
    return math.exp(log)


AMPLITUDE = Twin("amplitude", "amplitude", 1e-12, FLUX_UNIT)
REFERENCE = Twin("reference", "x_0", 1.0, "TeV", frozen=True)
REFERENCE_10 = replace(REFERENCE, default=10.0)
NORM = Twin("norm", "amplitude", 1.0)
CUTOFF = (
    Twin("lambda_", "x_cutoff", 0.1, "TeV-1", inverse=True),
    Twin("alpha", "", 1.0, frozen=True, accepted=(1, 1), written=1.0),
)
BREAK = (Twin("index1", "alpha_1", 2.0), Twin("index2", "alpha_2", 2.0), Twin("ebreak", "x_break", 1.0, "TeV"))
POWER_LAW_NORM = Kind(
    ("PowerLawNormSpectralModel", "pl-norm"), PowerLaw1D, (Twin("tilt", "alpha", 0.0, frozen=True), NORM, REFERENCE)
)
#: Spectra, and factors of spectra, which have a norm.
SPECTRA = (
    Kind(("PowerLawSpectralModel", "pl"), PowerLaw1D, (Twin("index", "alpha", 2.0), AMPLITUDE, REFERENCE)),
    Kind(
        ("ExpCutoffPowerLawSpectralModel", "ecpl"),
        ExponentialCutoffPowerLaw1D,
        (Twin("index", "alpha", 1.5), AMPLITUDE, REFERENCE, *CUTOFF),
    ),
    Kind(
        ("LogParabolaSpectralModel", "lp"),
        LogParabola1D,
        (AMPLITUDE, REFERENCE_10, Twin("alpha", "alpha", 2.0), Twin("beta", "beta", 1.0)),
    ),
    Kind(("BrokenPowerLawSpectralModel", "bpl"), BrokenPowerLaw1D, (*BREAK, AMPLITUDE)),
    Kind(
        ("SmoothBrokenPowerLawSpectralModel", "sbpl"),
        SmoothlyBrokenPowerLaw1D,
        (*BREAK, AMPLITUDE, replace(REFERENCE, ours="reference"), Twin("beta", "delta", 1.0, frozen=True)),
        _smooth_from_theirs,
        _smooth_to_theirs,
    ),
    Kind(("ConstantSpectralModel", "const"), Const1D, (replace(AMPLITUDE, theirs="const"),)),
    POWER_LAW_NORM,
    Kind(
        ("ExpCutoffPowerLawNormSpectralModel", "ecpl-norm"),
        ExponentialCutoffPowerLaw1D,
        (Twin("index", "alpha", 0.0), NORM, REFERENCE, *CUTOFF),
    ),
    Kind(
        ("LogParabolaNormSpectralModel", "lp-norm"),
        LogParabola1D,
        (NORM, REFERENCE_10, Twin("alpha", "alpha", 0.0), Twin("beta", "beta", 0.0)),
    ),
)
#: A table of gammapy has no norm: ours stands for one that is set so, or for a product with a power law of no tilt.
NO_NORM = Setting(1.0, fixed=True, low=0.0)
NO_TILT = {"alpha": Setting(0.0, fixed=True), "x_0": Setting(1.0, fixed=True)}
TEMPLATE = Kind(("TemplateSpectralModel", "template"), TemplateSpectrum, ())
ABSORPTION = Kind(
    ("EBLAbsorptionNormSpectralModel", "ebl-norm"),
    Absorption,
    (Twin("redshift", "redshift", 0.1, frozen=True), Twin("alpha_norm", "strength", 1.0, frozen=True)),
)
COMPOUND = Kind(("CompoundSpectralModel", "compound"), CompoundModel, ())
#: Nesting of compounds, as in `xonoff.models.from_json`.
DEPTH = 50
OPERATORS = {"add": "+", "sub": "-", "mul": "*"}

PLACE = (Twin("lon_0", "lon_0", 0.0, "deg"), Twin("lat_0", "lat_0", 0.0, "deg", low=-90.0, high=90.0))
ELLIPSE = (
    Twin("e", "e", 0.0, frozen=True, low=0.0, high=1.0),
    Twin("phi", "phi", 0.0, "deg", frozen=True, low=-180.0, high=180.0),
)
#: The edge of our disk is sharp; gammapy needs some width of it, as a share of the radius.
EDGE = Twin("edge_width", "", 0.01, frozen=True, accepted=(0, 0.01), written=1e-6)
SHAPES = (
    Kind(("PointSpatialModel", "point"), PointSource, PLACE),
    Kind(
        ("GaussianSpatialModel", "gauss"),
        GaussianSource,
        (*PLACE, Twin("sigma", "sigma", 1.0, "deg", low=0.0), *ELLIPSE),
    ),
    Kind(("DiskSpatialModel", "disk"), DiskSource, (*PLACE, Twin("r_0", "r_0", 1.0, "deg", low=0.0), *ELLIPSE, EDGE)),
    Kind(
        ("ShellSpatialModel", "shell"),
        ShellSource,
        (*PLACE, Twin("radius", "radius", 1.0, "deg"), Twin("width", "width", 0.2, "deg")),
    ),
    # The integral over the sphere of the value of gammapy, which is a brightness.
    Kind(
        ("ConstantSpatialModel", "const"),
        ConstantSource,
        (Twin("value", "value", 1.0, "sr-1", frozen=True, factor=4 * math.pi),),
    ),
)
