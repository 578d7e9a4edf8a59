"""How often each interval holds the true signal: all counts that may come, with their probabilities.

The table is part of docs/intervals.md; `python tests/test_coverage.py` prints it anew.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm, poisson

from xonoff.stats import excess_errors, feldman_cousins, rolke, upper_limit

SIGNALS = [0.0, 1.0, 3.0, 10.0]
BACKGROUNDS = [0.5, 3.0, 10.0]
ALPHAS = [0.1, 1.0]
#: Efficiencies measured where the true one is 1: of equal probability.
ERROR = 0.2
EFFICIENCIES = 1 + ERROR * norm.ppf((np.arange(40) + 0.5) / 40)


def likely(mean):
    """Counts that may come, and their probabilities."""
    counts = np.arange(poisson.ppf(1e-10, mean), poisson.isf(1e-10, mean) + 1)
    return counts, poisson.pmf(counts, mean)


def errors(n_on, n_off, alpha, background):
    errn, errp = excess_errors(n_on, n_off, alpha)
    excess = n_on - alpha * n_off
    return excess - errn, excess + errp


def limit(n_on, n_off, alpha, background):
    return -np.inf, upper_limit(n_on, n_off, alpha)


def bounded_limit(n_on, n_off, alpha, background):
    return 0.0, upper_limit(n_on, n_off, alpha, bounded=True)


def known_efficiency(n_on, n_off, alpha, background):
    return rolke(n_on, n_off, alpha)


def measured_efficiency(n_on, n_off, alpha, background):
    e = EFFICIENCIES[:, None, None]
    return rolke(n_on, n_off, alpha, efficiency=e, efficiency_error=ERROR)


def known_background(n_on, n_off, alpha, background):
    return feldman_cousins(n_on, background)


def measured_background(n_on, n_off, alpha, background):
    return feldman_cousins(n_on, alpha * n_off)


INTERVALS = [
    ("`excess_errors`, 1 sigma", 68.3, errors),
    ("`upper_limit`, 2 sigma", 97.7, limit),
    ("the same, bounded", 97.7, bounded_limit),
    ("`rolke`, 90 %", 90.0, known_efficiency),
    ("the same, efficiency known to 20 %", 90.0, measured_efficiency),
    ("`feldman_cousins`, 90 %", 90.0, known_background),
    ("the same with `alpha n_off` as background", 90.0, measured_background),
]


def coverage(interval, signal, background, alpha):
    """Probability, in percent, that the interval holds the signal."""
    on, p_on = likely(signal + background)
    off, p_off = likely(background / alpha)
    lower, upper = interval(on[:, None], off, alpha, background)
    inside = np.broadcast_to((lower <= signal) & (signal <= upper), (*np.shape(upper)[:-2], on.size, off.size))
    held = inside.reshape(-1, on.size, off.size).mean(axis=0)
    return 100 * (p_on[:, None] * p_off * held).sum() / (p_on.sum() * p_off.sum())


def table():
    columns = [(b, alpha) for b in BACKGROUNDS for alpha in ALPHAS]
    rows = [
        "| interval | nominal | signal | " + " | ".join(f"b = {b:g}, alpha = {alpha:g}" for b, alpha in columns) + " |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for name, nominal, interval in INTERVALS:
        for signal in SIGNALS:
            values = [f"{coverage(interval, signal, b, alpha):.1f}" for b, alpha in columns]
            head = [name, f"{nominal:.1f}"] if signal == SIGNALS[0] else ["", ""]
            rows.append("| " + " | ".join([*head, f"{signal:g}", *values]) + " |")
    return "\n".join(rows)


def test_the_page_shows_the_coverage():
    page = Path(__file__).parents[1] / "docs" / "intervals.md"
    assert table() in page.read_text()


@pytest.mark.parametrize("confidence", [0.6827, 0.9, 0.99])
@pytest.mark.parametrize("background", [0.0, 0.5, 3.0, 10.0])
def test_feldman_cousins_covers_whatever_the_signal(background, confidence):
    for signal in np.linspace(0.0, 20.0, 101) + 1e-9:
        counts, p = likely(signal + background)
        lower, upper = feldman_cousins(counts, background, confidence=confidence)
        assert p[(lower <= signal) & (signal <= upper)].sum() >= confidence - 1e-9


@pytest.mark.parametrize("alpha", ALPHAS)
def test_coverage_tends_to_the_nominal_one(alpha):
    for _, nominal, interval in INTERVALS[:4]:
        assert coverage(interval, 300.0, 300.0, alpha) == pytest.approx(nominal, abs=0.6)


if __name__ == "__main__":
    print(table())
