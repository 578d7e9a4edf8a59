"""The free parameters of sky models as one vector, which changes as a whole or not at all."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from astropy.modeling import CompoundModel, Model, Parameter
from astropy.modeling.powerlaws import ExponentialCutoffPowerLaw1D, LogParabola1D, PowerLaw1D
from astropy.units import Unit

from xonoff.errors import ModelError
from xonoff.models.shapes import Shape
from xonoff.models.skymodel import SkyModel, named_parameters
from xonoff.models.skymodel import parameters as table_of

__all__ = ["FreeParameters", "OfParameters", "follow", "limits", "links_of", "rules_of"]

Floats: TypeAlias = npt.NDArray[np.float64]
#: Part of a model, the name of a parameter of it, and what gives its value.
Rule: TypeAlias = tuple[Model, str, Callable[[Model], float]]
#: A parameter that follows another one.
Link: TypeAlias = tuple[Parameter, Parameter]

#: Spectra whose x_0 is no more than the energy of their amplitude.
REFERRED = (PowerLaw1D, ExponentialCutoffPowerLaw1D, LogParabola1D)
#: Parameters of shapes that are those of a frame.
OF_FRAME = ("lon_0", "lat_0", "phi")


class FreeParameters:
    """Parameters that are neither fixed nor tied, but for reference energies.

    The ``x_0`` of a power law, with or without cut-off or curvature, only says at which energy its amplitude is: it is
    not free, for any change of it is one of the amplitude. Neither is a parameter whose two bounds are one value: it
    is set to that.

    Parameters
    ----------
    models : list of SkyModel
        Kept; their tied parameters are set at once, by the rules that astropy has in ``tied``.
    tied : mapping of str to str, optional
        Names of parameters that follow another one, of any model, which may have a rule itself.
    others : iterable of Parameter
        Free parameters that are those of no model, by their own names.

    Attributes
    ----------
    names : list of str
        Full names, such as "crab.amplitude".
    tied : dict of str to str
        As given.

    Raises
    ------
    ModelError
        If a name is none of a parameter, a follower has a rule of its own, two that are tied have different units,
        frames or kinds, or their bounds do not meet.

    Examples
    --------
    >>> from xonoff.models import PowerLaw1D
    >>> free = FreeParameters([SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6))])
    >>> free.names, free.values.tolist()
    (['crab.amplitude', 'crab.alpha'], [3.5e-11, 2.6])
    """

    def __init__(
        self, models: list[SkyModel], *, tied: Mapping[str, str] | None = None, others: Iterable[Parameter] = ()
    ) -> None:
        parts = [part for model in models for part in model.parts]
        references = {id(p) for part in parts for p in _references(part)}
        named = named_parameters(models)
        self.tied = _checked({} if tied is None else tied, models)
        self._links, self._rules = links_of(models, self.tied), rules_of(models)
        free = {
            name: p
            for name, p in named.items()
            if not p.fixed and not p.tied and id(p) not in references and name not in self.tied
        }
        free.update({p.name: p for p in others})
        declared = {id(getattr(part, name)): _declared(part, name) for part in parts for name in part.param_names}
        groups = {name: [p, *(follower for follower, leader in self._links if leader is p)] for name, p in free.items()}
        bounds = {
            name: _common(name, [end for p in group for end in (p.bounds, declared.get(id(p), p).bounds)])
            for name, group in groups.items()
        }
        for name, (low, high) in bounds.items():
            if low == high:
                free.pop(name).value = low
        self.names, self._parameters = list(free), list(free.values())
        self._groups, self._bounds = [groups[name] for name in free], [bounds[name] for name in free]
        follow(self._rules, self._links)

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

    def is_of(self, number: int, parts: Iterable[Model]) -> bool:
        """Tell whether a parameter, with all that follow it, is one of some spectra or shapes."""
        own = {id(getattr(part, name)) for part in parts for name in part.param_names}
        return all(id(p) in own for p in self._groups[number])

    def bounds(self, number: int) -> tuple[float, float]:
        """Bounds of a parameter and all that follow it, within those of their classes; infinite if there are none."""
        return self._bounds[number]

    def _write(self, values: Floats) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            if parameter.value != value:
                parameter.value = value
        follow(self._rules, self._links)


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


def links_of(models: list[SkyModel], tied: Mapping[str, str]) -> list[Link]:
    """Parameters that follow others, by their names; those of models that there are not are left out."""
    named = named_parameters(models)
    return [(named[own], named[leader]) for own, leader in tied.items() if own in named and leader in named]


def follow(rules: list[Rule], links: Iterable[Link] = ()) -> None:
    """Set parameters by their rules, then those that follow these, then the rules of the latter."""
    for part, name, rule in rules:
        setattr(part, name, rule(part))
    moved = False
    for follower, leader in links:
        if follower.value != leader.value:
            follower.value, moved = leader.value, True
    if moved and rules:
        follow(rules)


def limits(bounds: tuple[float | None, float | None]) -> tuple[float, float]:
    """Bounds as numbers, infinite where there is none."""
    low, high = bounds
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)


def _common(name: str, bounds: list[tuple[float | None, float | None]]) -> tuple[float, float]:
    """Bounds that are within all of some."""
    ends = [limits(pair) for pair in bounds]
    low, high = max(low for low, _ in ends), min(high for _, high in ends)
    if low > high:
        raise ModelError(
            f"{name}: bounds that do not meet found, of it, what is tied to it, or their classes: it would have to "
            f"lie above {low:g} and below {high:g}"
        )
    return low, high


def _checked(tied: Mapping[str, str], models: list[SkyModel]) -> dict[str, str]:
    """Refuse names of parameters that there are not, ties in a row, and parameters that cannot have one value."""
    named = named_parameters(models)
    if not isinstance(tied, Mapping):
        raise ModelError(f'tied: a {type(tied).__name__} found, names by name accepted: {{"b.alpha": "a.alpha"}}')
    kinds = _kinds(models) if tied else {}
    for follower, leader in tied.items():
        for name in (follower, leader):
            if not isinstance(name, str) or name not in named:
                raise ModelError(f"tied: {name!r} found, {', '.join(named)} accepted")
        if leader in tied:
            raise ModelError(f"tied: {follower} follows {leader}, which is tied itself: tie both to one that is not")
        if named[follower].tied:
            raise ModelError(f"tied: {follower} has a rule of its own: set its tied = False, or leave it out")
        (kind, unit), (accepted, other) = kinds[follower], kinds[leader]
        if kind != accepted:
            raise ModelError(f"tied: {follower}, {kind}, follows {leader}, {accepted}: give both one kind")
        if unit is not None and other is not None and unit != other:
            raise ModelError(f"tied: {follower} in {unit} follows {leader} in {other}: give both one unit")
    return dict(tied)


def _kinds(models: list[SkyModel]) -> dict[str, tuple[str, Unit | None]]:
    """Kind and unit, None where it is not known, of each parameter, by its name: what is tied has to share them."""
    found: dict[str, tuple[str, Unit | None]] = {}
    parts = [(part, name) for model in models for part in model.parts for name in part.param_names]
    for full, unit, (part, name) in zip(named_parameters(models), table_of(models)["unit"], parts, strict=True):
        if isinstance(part, Shape):
            kind = f"{name} in the frame {part.frame}" if name in OF_FRAME else "of a shape"
        else:
            kind = "an amplitude" if name.startswith("amplitude") else "of a spectrum"
        found[full] = kind, None if kind == "an amplitude" and not unit else Unit(unit)
    return found


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
