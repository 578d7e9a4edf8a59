"""Independent references for the statistics (many digits; plain numpy), and the folder of reference data."""

import os
from pathlib import Path

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray


def data_dir() -> Path:
    """$XONOFF_TEST_DATA, or ``../shared/data`` seen from the repository root; skips the test if there is none."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("XONOFF_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set XONOFF_TEST_DATA to the folder")
    return folder


def exact_wstat(n_on: float, n_off: float, alpha: float, mu_sig: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """W and the background in the off region, from the textbook formulas with digits to spare. Needs alpha > 0."""
    with mpmath.workdps(150):
        n_on, n_off, alpha, mu_sig = (mpmath.mpf(x) for x in (n_on, n_off, alpha, mu_sig))
        a = alpha * (1 + alpha)
        c = alpha * (n_on + n_off) - (1 + alpha) * mu_sig
        # The border of the allowed range is a root too; rounding must not carry it below.
        mu_off = max(
            (c + mpmath.sqrt(max(c * c + 4 * a * n_off * mu_sig, 0))) / (2 * a), -mu_sig / alpha, mpmath.mpf(0)
        )
        mu_on = mu_sig + alpha * mu_off
        half = mu_on - n_on + mu_off - n_off
        for n, mu in ((n_on, mu_on), (n_off, mu_off)):
            if n > 0:
                half += n * mpmath.log(n / mu) if mu > 0 else mpmath.inf
        return 2 * half, mu_off


def textbook_wstat(n_on: NDArray, n_off: NDArray, alpha: NDArray, mu_sig: NDArray) -> NDArray[np.float64]:
    """W as in the XSPEC manual, in plain numpy; good where nothing cancels, for alpha > 0 and mu_sig >= 0."""
    c = alpha * (n_on + n_off) - (1 + alpha) * mu_sig
    d = np.sqrt(c**2 + 4 * alpha * (1 + alpha) * n_off * mu_sig)
    mu_off = (c + d) / (2 * alpha * (1 + alpha))
    mu_on = mu_sig + alpha * mu_off

    def log_term(n: NDArray, mu: NDArray) -> NDArray:
        return n * np.log(np.where(n > 0, mu, 1) / np.where(n > 0, n, 1))

    return 2 * (mu_on + mu_off - n_on - n_off - log_term(n_on, mu_on) - log_term(n_off, mu_off))
