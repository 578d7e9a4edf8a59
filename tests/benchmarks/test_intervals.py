"""Errors, upper limits and sensitivity of single bins, beside gammapy, which takes one bin after the other.

What is to be compared is the time a bin: gammapy gets a thousandth of the bins, and both print it, with the ratio.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xonoff import stats

BINS, PEER_BINS = 500_000, 500
ALPHA = 0.1

#: What to compute, by xonoff from the arrays and by gammapy's WStatCountsStatistic of them.
CALLS: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "both errors": (stats.excess_errors, lambda peer: (peer.compute_errn(), peer.compute_errp())),
    "upper limit": (lambda *x: stats.upper_limit(*x, n_sigma=2), lambda peer: peer.compute_upper_limit(n_sigma=2)),
    "sensitivity": (
        lambda _, n_off, alpha: stats.excess_for_significance(n_off, alpha),
        lambda peer: peer.n_sig_matching_significance(5),
    ),
    "bounded limit": (lambda *x: stats.upper_limit(*x, bounded=True), lambda peer: None),
    "rolke, efficiency to 20 %": (lambda *x: stats.rolke(*x, efficiency_error=0.2), lambda peer: None),
    "feldman_cousins": (lambda n_on, n_off, alpha: stats.feldman_cousins(n_on, alpha * n_off), lambda peer: None),
}
PEER_CALLS = ["both errors", "upper limit", "sensitivity"]
took: dict[str, float] = {}


def bins(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    background = rng.uniform(0.5, 20.0, size)
    counts = rng.poisson(background), rng.poisson(background / ALPHA)
    return counts[0].astype(float), counts[1].astype(float), np.full(size, ALPHA)


def per_bin(benchmark: Any, function: Callable[[], Any], size: int, rounds: int) -> tuple[Any, float]:
    """Result of a call, and microseconds it takes a bin."""
    result = function()
    benchmark.pedantic(function, rounds=rounds, iterations=1)
    benchmark.extra_info["us_per_bin"] = benchmark.stats.stats.min / size * 1e6
    return result, benchmark.extra_info["us_per_bin"]


@pytest.mark.parametrize("name", CALLS)
def test_interval_xonoff(benchmark: Any, name: str) -> None:
    arrays = bins(BINS)
    benchmark.group = f"{name}, {BINS} bins"
    result, took[name] = per_bin(benchmark, lambda: CALLS[name][0](*arrays), BINS, rounds=5)
    assert np.isfinite(result).all()
    print(f"\n{name}: xonoff {took[name]:.3f} us a bin")


@pytest.mark.parametrize("name", PEER_CALLS)
def test_interval_gammapy(benchmark: Any, name: str) -> None:
    peer_stats = pytest.importorskip("gammapy.stats", reason="gammapy 2.1 is not installed: make bench")
    arrays = bins(PEER_BINS)
    peer = peer_stats.WStatCountsStatistic(*arrays)
    benchmark.group = f"{name}, {PEER_BINS} bins"
    result, time = per_bin(benchmark, lambda: np.array(CALLS[name][1](peer)), PEER_BINS, rounds=2)
    ratio = f", {time / took[name]:.0f} times that of xonoff" if name in took else ""
    print(f"\n{name}: gammapy {time:.0f} us a bin{ratio}")
    ours = np.array(CALLS[name][0](*arrays))
    same = np.isfinite(result)
    if name == "both errors":
        same[0] &= arrays[0] > 0  # there gammapy finds no root and takes n_on
    assert same.mean() > 0.9
    np.testing.assert_allclose(ours[same], result[same], rtol=1e-5, atol=1e-5)
