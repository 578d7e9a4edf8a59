"""Spectra and their integrals: against mpmath, the limits of index 1, tables, units, and what is refused."""

import mpmath
import numpy as np
import pytest
from astropy import units as u
from astropy.modeling import Fittable1DModel
from astropy.modeling.models import Box1D, Const1D, Gaussian1D, Gaussian2D
from hypothesis import given, settings
from hypothesis import strategies as st

from xonoff import ModelError
from xonoff.models import (
    Absorption,
    BrokenPowerLaw1D,
    ExponentialCutoffPowerLaw1D,
    LogParabola1D,
    PowerLaw1D,
    SmoothlyBrokenPowerLaw1D,
    TemplateSpectrum,
    flux,
    integral,
)

EDGES = np.geomspace(0.05, 200, 13)

#: A spectrum, the same function in mpmath, and where it has a kink.
SPECTRA = {
    "power law": (PowerLaw1D(3e-12, 1.5, 2.6), lambda e: 3e-12 * (e / 1.5) ** -2.6, []),
    "index 1": (PowerLaw1D(3e-12, 1.5, 1), lambda e: 3e-12 * 1.5 / e, []),
    "near index 1": (PowerLaw1D(3e-12, 1.5, 1 + 1e-9), lambda e: 3e-12 * (e / 1.5) ** -(1 + mpmath.mpf("1e-9")), []),
    "cut off": (
        ExponentialCutoffPowerLaw1D(3e-12, 1.5, 1.8, 7.0),
        lambda e: 3e-12 * (e / 1.5) ** mpmath.mpf(-1.8) * mpmath.exp(-e / 7),
        [],
    ),
    "log parabola": (
        LogParabola1D(3e-12, 1.5, 2.3, 0.2),
        lambda e: 3e-12 * (e / 1.5) ** (-2.3 - 0.2 * mpmath.log(e / 1.5)),
        [],
    ),
    "broken": (
        BrokenPowerLaw1D(3e-12, 2.0, 1.5, 3.0),
        lambda e: 3e-12 * (e / 2) ** (-1.5 if e < 2 else -3),
        [2.0],
    ),
    "smoothly broken": (
        SmoothlyBrokenPowerLaw1D(3e-12, 2.0, 1.5, 3.0, 0.05),
        lambda e: 3e-12 * (e / 2) ** -1.5 * ((1 + (e / 2) ** 20) / 2) ** (-1.5 * 0.05),
        [],
    ),
    "line": (
        PowerLaw1D(1e-12, 1, 2) + Gaussian1D(1e-10, 1.0, 0.003),
        lambda e: 1e-12 * e**-2 + 1e-10 * mpmath.exp(-((e - 1) ** 2) / (2 * 0.003**2)),
        [0.98, 0.99, 1.0, 1.01, 1.02],
    ),
    "difference": (
        PowerLaw1D(1e-12, 1, 2) - PowerLaw1D(1e-13, 1, 3),
        lambda e: 1e-12 * e**-2 - 1e-13 * e**-3,
        [],
    ),
    "table": (
        TemplateSpectrum([0.1, 1.0, 30.0], [1e-10, 1e-12, 1e-16], norm=2.0),
        lambda e: 2 * _table(e, [0.1, 1.0, 30.0], [1e-10, 1e-12, 1e-16]),
        [0.1, 1.0, 30.0],
    ),
    "absorbed": (
        PowerLaw1D(1e-12, 1, 2) * Absorption([0.1, 1, 10], [0, 0.2], [[0, 0, 0], [0.2, 3, 20]], redshift=0.1),
        lambda e: 1e-12 * e**-2 * mpmath.exp(-_depth(e)),
        [0.1, 1.0, 10.0],
    ),
}


def _table(e, energies, values):
    for (a, fa), (b, fb) in zip(zip(energies, values), zip(energies[1:], values[1:])):  # noqa: B905
        if a <= e <= b:
            return fa * (e / a) ** (mpmath.log(mpmath.mpf(fb) / fa) / mpmath.log(mpmath.mpf(b) / a))
    return mpmath.mpf(0)


def _depth(e):
    if e <= 1:
        return 0.1 + (1.5 - 0.1) * mpmath.log(max(e, mpmath.mpf("0.1")) / 0.1) / mpmath.log(10)
    return 1.5 + 8.5 * mpmath.log(min(e, mpmath.mpf(10))) / mpmath.log(10)


@pytest.mark.parametrize("name", SPECTRA)
def test_integrals_against_mpmath(name):
    spectrum, function, kinks = SPECTRA[name]
    found = integral(spectrum, EDGES)
    for value, lo, hi in zip(found, EDGES, EDGES[1:], strict=False):
        with mpmath.workdps(25):
            points = [lo, *(k for k in kinks if lo < k < hi), hi]
            # In log energy, where every one of them is smooth.
            logs = [mpmath.log(p) for p in points]
            expected = mpmath.quad(lambda t: function(mpmath.exp(t)) * mpmath.exp(t), logs)
        assert value == pytest.approx(float(expected), rel=1e-8, abs=1e-60)


@pytest.mark.parametrize("name", SPECTRA)
def test_flux_against_mpmath(name):
    spectrum, function, _ = SPECTRA[name]
    energies = np.array([[0.06, 0.7], [2.5, 99.0]])
    expected = [[float(function(mpmath.mpf(e))) for e in row] for row in energies]
    np.testing.assert_allclose(flux(spectrum, energies), expected, rtol=1e-9, atol=1e-80)


@settings(max_examples=30, deadline=None)
@given(
    index=st.floats(-3, 6),
    reference=st.floats(0.01, 100),
    cut=st.floats(0.1, 0.9),
    break_energy=st.floats(0.001, 1000),
)
def test_integrals_add_up_over_bins(index, reference, cut, break_energy):
    middle = 0.1 * (50 / 0.1) ** cut
    for spectrum in (
        PowerLaw1D(1e-12, reference, index),
        BrokenPowerLaw1D(1e-12, break_energy, index, 2.5),
        LogParabola1D(1e-12, reference, index, 0.1),
    ):
        whole, parts = integral(spectrum, [0.1, 50]), integral(spectrum, [0.1, middle, 50])
        assert parts.sum() == pytest.approx(whole[0], rel=1e-9)
        twice = integral(spectrum + spectrum, [0.1, 50])
        assert twice[0] == pytest.approx(2 * whole[0], rel=1e-12)


def test_units_are_converted():
    plain = PowerLaw1D(3e-12, 1, 2.2)
    in_units = PowerLaw1D(3e-8 * u.Unit("m-2 s-1 TeV-1"), 1000 * u.GeV, 2.2)
    np.testing.assert_allclose(integral(in_units, EDGES), integral(plain, EDGES), rtol=1e-12)
    np.testing.assert_allclose(flux(in_units, EDGES), flux(plain, EDGES), rtol=1e-12)
    parabola = LogParabola1D(3e-15 * u.Unit("cm-2 s-1 GeV-1"), 1 * u.TeV, 2.2, 0.1)
    expected = integral(LogParabola1D(3e-12, 1, 2.2, 0.1), ["50 GeV", "1 TeV"])
    np.testing.assert_allclose(integral(parabola, [0.05, 1]), expected, rtol=1e-9)
    absorbed = in_units * Absorption([0.1, 10], [0, 1], [[0, 0], [1, 5]], redshift=0.5)
    assert 0 < integral(absorbed, [1, 2])[0] < integral(in_units, [1, 2])[0]


def test_a_table_is_zero_outside_and_any_bin_may_reach_beyond_it():
    table = TemplateSpectrum([1, 10], [1e-12, 1e-14])
    np.testing.assert_array_equal(flux(table, [0.5, 20]), 0)
    total = integral(table, [1, 10])[0]
    np.testing.assert_allclose(integral(table, [0.1, 0.5, 2, 100, 200]).sum(), total, rtol=1e-12)
    np.testing.assert_array_equal(integral(table, [0.1, 0.5, 0.9]), 0)


def test_a_redshift_is_bounded_by_its_table():
    ebl = Absorption([1, 10], [0.1, 1], [[0, 1], [1, 2]], redshift=0.3)
    assert ebl.redshift.bounds == (0.1, 1.0)
    assert Absorption([1, 10], [0.1, 1], [[0, 1], [1, 2]], 0.3, bounds={"redshift": (0.2, 0.4)}).redshift.bounds == (
        0.2,
        0.4,
    )
    for end in ebl.redshift.bounds:
        ebl.redshift = end
        assert 0 < flux(PowerLaw1D(1e-12, 1, 2) * ebl, 5.0) < 1e-12


def test_copies_keep_the_table():
    table = TemplateSpectrum([1, 10], [1e-12, 1e-14])
    other = table.copy()
    other.norm = 3
    np.testing.assert_allclose(integral(other, [1, 10]), 3 * integral(table, [1, 10]))


class Pole(Fittable1DModel):
    """Not integrable at 2 TeV."""

    def evaluate(self, x):
        return 1 / (x - 2) ** 2


class Noise(Fittable1DModel):
    """No function that quadrature could follow."""

    def evaluate(self, x):
        return 2 + np.sin(1e9 * x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: integral(3.0, EDGES), r"a float found, an astropy model such as"),
        (lambda: flux(Gaussian2D(), 1.0), r"2 inputs, 1 outputs and 1 parameter sets found, one of each accepted"),
        (lambda: flux(PowerLaw1D([1, 2], [1, 1], [2, 2], n_models=2), 1.0), r"2 parameter sets found"),
        (lambda: flux(PowerLaw1D(1 * u.m, 1 * u.TeV, 2), 1.0), r"units do not give a flux per energy"),
        (lambda: integral(PowerLaw1D(1 * u.m, 1 * u.TeV, 2), EDGES), r"units do not give a flux per energy"),
        (lambda: integral(PowerLaw1D(np.nan, 1, 2), EDGES), r"not finite .*amplitude"),
        (lambda: integral(Const1D(np.inf), EDGES), r"not finite"),
        (lambda: integral(Pole(), [1, 3]), r"1 to 3 TeV is not finite"),
        (lambda: integral(Noise(), [1, 3]), r"from 1 to 3 TeV does not converge"),
        (lambda: flux(PowerLaw1D(1e-12, 1, 2), [1.0, -2.0]), r"PowerLaw1D: at an energy of -2.0 TeV, positive ones"),
        (lambda: flux(PowerLaw1D(1e-12, 1, 2), np.nan), r"at an energy of nan TeV"),
        (lambda: flux(PowerLaw1D(1e-12, 1, 2, name="crab"), 0), r"spectrum crab: at an energy of 0.0 TeV"),
        (lambda: TemplateSpectrum([1, 2], [1e-12, 0]), r"not positive found"),
        (lambda: TemplateSpectrum([2, 1], [1, 1]), r"increasing energies are wanted"),
        (lambda: TemplateSpectrum([1], [1]), r"two or more of each wanted"),
        (lambda: Absorption([1, 2], [0, 1], [[0, 0]]), r"depths \(1, 2\) on 2 redshifts and 2 energies found"),
        (lambda: Absorption([1, 2], [0, 1], [[0, 0], [1, -1]]), r"negative optical depth"),
        (lambda: Absorption([1, 2], [0.1, 1], [[0, 0], [1, 1]]), r"redshift 0.0 found, one of the table accepted"),
        (lambda: Absorption([1, 2], [0, 1], [[0, 0], [1, 1]], np.nan), r"redshift nan found"),
        (lambda: Absorption([1, 2], [0, 1], [[0, 0], [1, 1]], [0.1, 0.2]), r"one number accepted"),
        (lambda: Absorption([1, 2], [0, 1], [[0, 0], [1, 1]], "far"), r"redshift 'far' found, one number"),
    ],
)
def test_what_is_no_spectrum_is_refused(call, message):
    with pytest.raises(ModelError, match=message):
        call()


def test_lines_and_edges_between_the_nodes_are_seen():
    line = 1e-12 * 1e-4 * np.sqrt(2 * np.pi)
    assert integral(Gaussian1D(1e-12, 1.2345, 1e-4), [0.1, 10])[0] == pytest.approx(line, rel=1e-8)
    assert integral(Box1D(1e-12, 3.05, 0.01), [2, 10])[0] == pytest.approx(1e-14, rel=1e-8)
    table = TemplateSpectrum([3, 3.05], [1e-12, 1e-12]) * Const1D(1)
    assert integral(table, [0.01, 100])[0] == pytest.approx(5e-14, rel=1e-8)
    both = (PowerLaw1D(1e-12, 1, 2) + Gaussian1D(1e-10, 1.2345, 1e-3)) * Const1D(1)
    expected = integral(PowerLaw1D(1e-12, 1, 2), [0.1, 10])[0] + 1e-10 * 1e-3 * np.sqrt(2 * np.pi)
    assert integral(both, [0.1, 10])[0] == pytest.approx(expected, rel=1e-8)


def test_steep_power_laws_and_indices_with_units():
    assert integral(PowerLaw1D(1e-12, 1, -50), [1e-10, 1])[0] == pytest.approx(1e-12 / 51, rel=1e-12)
    assert integral(PowerLaw1D(1e-12, 1, -200), [1e-3, 1])[0] == pytest.approx(1e-12 / 201, rel=1e-12)
    unit = u.Unit("cm-2 s-1 TeV-1")
    percent = PowerLaw1D(1e-12 * unit, 1 * u.TeV, 200 * u.percent)
    assert integral(percent, [1, 2])[0] == pytest.approx(5e-13, rel=1e-12)
    table = TemplateSpectrum([0.1, 10], [1e-12, 1e-12])
    mixed = table + PowerLaw1D(1e-12 * unit, 1 * u.TeV, 2)
    assert integral(mixed, [1, 2])[0] == pytest.approx(1.5e-12, rel=1e-12)
    assert flux(mixed, 1.0) == pytest.approx(2e-12)
    for spectrum in (PowerLaw1D(1e-12 * unit, 1, 2), PowerLaw1D([1e-12, 2e-12], [1, 1], [2, 2])):
        for function in (lambda s: flux(s, [1, 2]), lambda s: integral(s, [1, 2])):
            with pytest.raises(ModelError):
                function(spectrum)
