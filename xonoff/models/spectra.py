"""Spectra: the flux of any astropy 1-D model, and two that astropy lacks, from tables.

A spectrum is any astropy model of one input and one output, alone or compound. Its input is the energy, its output the
flux per energy. Where its parameters have no units, energies are in TeV and fluxes in cm-2 s-1 TeV-1.
"""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.modeling import Fittable1DModel, Model, Parameter

from xonoff.errors import ModelError, SchemaError
from xonoff.units import Value, floats_in, value_in

__all__ = ["FLUX_UNIT", "Absorption", "TemplateSpectrum", "flux"]

Floats = npt.NDArray[np.float64]

#: Unit of a flux per energy.
FLUX_UNIT = "cm-2 s-1 TeV-1"


def flux(spectrum: Model, energy: Value) -> Floats:
    """Flux per energy of a spectrum.

    Parameters
    ----------
    spectrum : astropy.modeling.Model
        Of one input and one output. Parameters may have units, all or none of them.
    energy : array_like, TeV
        Energies, of any shape.

    Returns
    -------
    ndarray, cm-2 s-1 TeV-1
        Of the shape of the energies.

    Raises
    ------
    ModelError
        If the model is no spectrum, or its units are those of something else.

    Examples
    --------
    >>> from xonoff.models import PowerLaw1D
    >>> crab = PowerLaw1D(amplitude=3.5e-11, x_0=1, alpha=2.6)
    >>> flux(crab, ["1 TeV", "10 TeV"])
    array([3.50000000e-11, 8.79160251e-14])
    """
    check_spectrum(spectrum)
    energies = floats_in(energy, "TeV")
    if not (energies > 0).all():
        wrong = energies[~(energies > 0)][0]
        raise ModelError(f"spectrum {_label(spectrum)}: at an energy of {wrong} TeV, positive ones accepted")
    try:
        with np.errstate(over="ignore", under="ignore"):
            values = spectrum(energies * u.TeV if has_units(spectrum) else energies)
        if isinstance(values, u.Quantity):
            values = values.to_value(u.Unit(FLUX_UNIT) if has_units(spectrum) else "")
    except u.UnitsError as error:
        raise ModelError(
            f"spectrum {_label(spectrum)}: its units do not give a flux per energy ({error}): give every parameter a "
            f"unit, so that the flux is in {FLUX_UNIT} or converts to it, or none"
        ) from error
    return np.array(np.broadcast_to(np.asarray(values, dtype=np.float64), energies.shape))


def check_spectrum(spectrum: Any) -> None:
    """Refuse what is not a single astropy model of one input and one output."""
    if not isinstance(spectrum, Model):
        raise ModelError(
            f"spectrum: a {type(spectrum).__name__} found, an astropy model such as "
            "xonoff.models.PowerLaw1D(amplitude=1e-12, x_0=1, alpha=2) accepted"
        )
    if spectrum.n_inputs != 1 or spectrum.n_outputs != 1 or len(spectrum) != 1:
        raise ModelError(
            f"spectrum {_label(spectrum)}: {spectrum.n_inputs} inputs, {spectrum.n_outputs} outputs and "
            f"{len(spectrum)} parameter sets found, one of each accepted"
        )
    arrays = [name for name in spectrum.param_names if np.size(getattr(spectrum, name).value) != 1]
    if arrays:
        raise ModelError(f"spectrum {_label(spectrum)}: an array for {arrays[0]} found, one number accepted")


def has_units(spectrum: Model) -> bool:
    """Tell whether a spectrum is in units, its parameters being Quantities."""
    return any(getattr(spectrum, name).unit is not None for name in spectrum.param_names)


def _label(spectrum: Model) -> str:
    return str(spectrum.name or type(spectrum).__name__)


class TemplateSpectrum(Fittable1DModel):  # type: ignore[misc]  # astropy is untyped
    """Spectrum from a table: fluxes at energies, joined by power laws; zero outside of the table.

    Parameters
    ----------
    energy : array_like, TeV
        Two or more, increasing.
    values : array_like, cm-2 s-1 TeV-1
        Positive fluxes.
    norm : float
        Factor, the one parameter.
    **kwargs
        As for any model of astropy: ``fixed``, ``bounds``, ``name``.

    Examples
    --------
    >>> spectrum = TemplateSpectrum([0.1, 10], [1e-9, 1e-13])
    >>> round(float(spectrum(1.0)), 17)
    1e-11
    """

    norm = Parameter(default=1.0, bounds=(0, None), description="factor of the table")
    n_inputs: ClassVar[int] = 1
    n_outputs: ClassVar[int] = 1

    def __init__(self, energy: Value, values: Value, norm: float = 1.0, **kwargs: Any) -> None:
        energies, fluxes = floats_in(energy, "TeV"), floats_in(values, FLUX_UNIT)
        _check_table("TemplateSpectrum", energies, fluxes)
        if not (fluxes > 0).all():
            raise ModelError("TemplateSpectrum: fluxes that are not positive found: leave these energies out")
        self.energy, self.values = energies, fluxes
        super().__init__(norm=norm, **kwargs)

    def evaluate(self, x, norm):  # type: ignore[no-untyped-def]  # astropy takes annotations for units
        """Flux at energies."""
        in_units = isinstance(x, u.Quantity)
        x = _in_tev(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.interp(np.log(x), np.log(self.energy), np.log(self.values))
        inside = (x >= self.energy[0]) & (x <= self.energy[-1])
        values = norm * np.where(inside, np.exp(logs), 0.0)
        return values * u.Unit(FLUX_UNIT) if in_units else values


class Absorption(Fittable1DModel):  # type: ignore[misc]  # astropy is untyped
    """Share of the photons that reach us, ``exp(-strength * tau)``, from a table of optical depths; multiply it on.

    The optical depth is interpolated linearly in redshift and in the logarithm of energy. Outside of the energies of
    the table it is that at its end; a redshift outside of the table is refused.

    Parameters
    ----------
    energy : array_like, TeV
        Increasing.
    redshifts : array_like
        Increasing.
    depth : array_like (redshift, energy)
        Optical depth of the extragalactic background light, not negative.
    redshift : float
        Of the source; fixed by default.
    strength : float
        Factor of the optical depth; fixed by default.
    **kwargs
        As for any model of astropy: ``fixed``, ``bounds``, ``name``.

    Examples
    --------
    >>> from xonoff.models import PowerLaw1D, integral
    >>> ebl = Absorption([0.1, 1, 10], [0, 0.5], [[0, 0, 0], [0.2, 3, 20]], redshift=0.1)
    >>> round(float(ebl(1.0)), 4)
    0.5488
    >>> bool(integral(PowerLaw1D(1e-12, 1, 2) * ebl, [1, 10]) < integral(PowerLaw1D(1e-12, 1, 2), [1, 10]))
    True
    """

    redshift = Parameter(default=0.0, fixed=True, description="redshift of the source")
    strength = Parameter(default=1.0, fixed=True, bounds=(0, None), description="factor of the optical depth")
    n_inputs: ClassVar[int] = 1
    n_outputs: ClassVar[int] = 1

    def __init__(
        self,
        energy: Value,
        redshifts: Value,
        depth: Value,
        redshift: float = 0.0,
        strength: float = 1.0,
        **kwargs: Any,
    ) -> None:
        energies, known, depths = floats_in(energy, "TeV"), floats_in(redshifts, ""), floats_in(depth, "")
        if known.ndim != 1 or depths.shape != (known.size, energies.size) or not (np.diff(known) > 0).all():
            raise ModelError(
                f"Absorption: depths {depths.shape} on {known.size} redshifts and {energies.size} energies found, "
                "(redshift, energy) with both increasing accepted"
            )
        for row in depths:
            _check_table("Absorption", energies, row)
        try:
            inside = known.size > 0 and known[0] <= value_in(redshift, "") <= known[-1]
        except SchemaError as error:
            raise ModelError(f"Absorption: redshift {redshift!r} found, one number accepted") from error
        if not inside:
            raise ModelError(f"Absorption: redshift {redshift} found, one of the table accepted: {known.tolist()}")
        kwargs["bounds"] = {"redshift": (float(known[0]), float(known[-1]))} | kwargs.get("bounds", {})
        if not (depths >= 0).all():
            raise ModelError("Absorption: a negative optical depth found, numbers from 0 on accepted")
        self.energy, self.redshifts, self.depth = energies, known, depths
        super().__init__(redshift=redshift, strength=strength, **kwargs)

    def evaluate(self, x, redshift, strength):  # type: ignore[no-untyped-def]  # astropy takes annotations for units
        """Share that is left at energies."""
        x = _in_tev(x)
        z = float(np.ravel(redshift)[0])
        known = self.redshifts
        if not known[0] <= z <= known[-1]:
            raise ModelError(f"Absorption: redshift {z} found, {known[0]} to {known[-1]} in the table")
        depth = np.array([np.interp(z, known, column) for column in self.depth.T])
        return np.exp(-strength * np.interp(np.log(x), np.log(self.energy), depth))


def _in_tev(x: Any) -> Any:
    return x.to_value("TeV") if isinstance(x, u.Quantity) else x


def _check_table(name: str, energies: Floats, values: Floats) -> None:
    if energies.ndim != 1 or energies.size < 2 or values.shape != energies.shape:
        raise ModelError(
            f"{name}: {values.shape} values at {energies.shape} energies found, two or more of each wanted"
        )
    if not (energies > 0).all() or not (np.diff(energies) > 0).all() or not np.isfinite([energies, values]).all():
        raise ModelError(f"{name}: finite values at positive, increasing energies are wanted, {energies} TeV found")
