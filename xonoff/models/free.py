"""The free parameters of sky models as one vector, which changes as a whole or not at all."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from astropy.modeling import CompoundModel, Model, Parameter
from astropy.modeling.powerlaws import ExponentialCutoffPowerLaw1D, LogParabola1D, PowerLaw1D

from xonoff.errors import ModelError
from xonoff.models.skymodel import SkyModel, named_parameters

__all__ = ["FreeParameters", "OfParameters", "follow", "rules_of"]

Floats: TypeAlias = npt.NDArray[np.float64]
#: Part of a model, the name of a parameter of it, and what gives its value.
Rule: TypeAlias = tuple[Model, str, Callable[[Model], float]]

#: Spectra whose x_0 is no more than the energy of their amplitude.
REFERRED = (PowerLaw1D, ExponentialCutoffPowerLaw1D, LogParabola1D)


class FreeParameters:
    """Parameters that are neither fixed nor tied, but for reference energies.

    The ``x_0`` of a power law, with or without cut-off or curvature, only says at which energy its amplitude is: it is
    not free, for any change of it is one of the amplitude.

    Parameters
    ----------
    models : list of SkyModel
        Kept; their tied parameters are set at once, by the rules that astropy has in ``tied``.

    Attributes
    ----------
    names : list of str
        Full names, such as "crab.amplitude".

    Examples
    --------
    >>> from xonoff.models import PowerLaw1D
    >>> free = FreeParameters([SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6))])
    >>> free.names, free.values.tolist()
    (['crab.amplitude', 'crab.alpha'], [3.5e-11, 2.6])
    """

    def __init__(self, models: list[SkyModel]) -> None:
        parts = [part for model in models for part in model.parts]
        references = {id(p) for part in parts for p in _references(part)}
        named = named_parameters(models)
        free = {name: p for name, p in named.items() if not p.fixed and not p.tied and id(p) not in references}
        self.names, self._parameters = list(free), list(free.values())
        own = {id(getattr(part, name)): _declared(part, name) for part in parts for name in part.param_names}
        self._declared = [own[id(p)] for p in self._parameters]
        self._rules = rules_of(models)
        follow(self._rules)

    @property
    def values(self) -> Floats:
        """Values as they are, an array of its own."""
        return np.array([float(p.value) for p in self._parameters])

    def set(self, values: npt.ArrayLike, then: Callable[[], None]) -> None:
        """Set all values, and what is tied to them; after an error they are what they were.

        Parameters
        ----------
        values : array_like
            In the order of ``names``.
        then : callable
            What is to be done with them, whose errors count too.

        Raises
        ------
        ModelError
            Unless there is one finite number for each.
        """
        before = self.values
        try:
            wanted = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            wanted = np.array(np.nan)
        if wanted.shape != before.shape or not np.isfinite(wanted).all():
            raise ModelError(
                f"values: {values!s:.80} found, a finite number for each of the {len(self.names)} parameters accepted: "
                f"{', '.join(self.names)}"
            )
        try:
            self._write(wanted)
            then()
        except Exception:
            self._write(before)
            raise

    def is_of(self, number: int, part: Model) -> bool:
        """Tell whether a parameter is one of a spectrum or of a shape."""
        return any(self._parameters[number] is getattr(part, name) for name in part.param_names)

    def bounds(self, number: int) -> tuple[float, float]:
        """Bounds of a parameter, within those that its class has; infinite where there are none."""
        (low, high), (least, most) = (_ends(p.bounds) for p in (self._parameters[number], self._declared[number]))
        return max(low, least), min(high, most)

    def _write(self, values: Floats) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            if parameter.value != value:
                parameter.value = value
        follow(self._rules)


class OfParameters(ABC):
    """A function of the free parameters of models, that works out anew what follows from them."""

    _free: FreeParameters

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters that are neither fixed nor tied: "crab.amplitude"."""
        return list(self._free.names)

    @property
    def values(self) -> Floats:
        """Their values, those of the last call."""
        return self._free.values

    def _follow(self, values: npt.ArrayLike | None) -> None:
        """Take other values, if any; after an error they are what they were."""
        self._refresh() if values is None else self._free.set(values, self._refresh)

    @abstractmethod
    def _refresh(self) -> None:
        """Work out what follows from the values."""


def rules_of(models: list[SkyModel]) -> list[Rule]:
    """Rules of the tied parameters of models, which astropy has in ``tied``."""
    parts = [part for model in models for part in model.parts]
    return [(part, name, rule) for part in parts for name, rule in part.tied.items() if callable(rule)]


def follow(rules: list[Rule]) -> None:
    """Set parameters by their rules."""
    for part, name, rule in rules:
        setattr(part, name, rule(part))


def _references(part: Model) -> list[Parameter]:
    """Reference energies of a model, also of those that a compound is made of."""
    if isinstance(part, CompoundModel):
        numbered = [(name, *name.rsplit("_", 1)) for name in part.param_names]  # "x_0_1" is x_0 of the second one
        return [getattr(part, n) for n, own, leaf in numbered if own == "x_0" and type(part[int(leaf)]) in REFERRED]
    return [part.x_0] if type(part) in REFERRED else []


def _declared(part: Model, name: str) -> Parameter:
    """Parameter as the class of a model has it; of a compound, which has no class of its own, the parameter itself."""
    found = getattr(type(part), name, None)
    return found if isinstance(found, Parameter) else getattr(part, name)


def _ends(bounds: tuple[float | None, float | None]) -> tuple[float, float]:
    low, high = bounds
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)
