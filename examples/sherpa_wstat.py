"""Load an OGIP spectrum in Sherpa and print its wstat, to be compared with xonoff's.

    python examples/sherpa_wstat.py pha_crab.fits [AMPLITUDE INDEX]

prints wstat over the channels of good quality for no signal, or for a power law AMPLITUDE * E**-INDEX in
photons / (cm2 s TeV) with E in TeV. Sherpa is no dependency of xonoff: without wheels, building it takes a C and a
Fortran compiler, bison, flex and FFTW (``pip install sherpa``; 4.19.0 was used). The numbers in tests/test_ogip.py are
from this script.
"""

import sys

import numpy as np
from sherpa.astro import ui
from sherpa.models.model import ArithmeticModel
from sherpa.models.parameter import Parameter

KEV = 1e-9  # in TeV


class PowerLaw(ArithmeticModel):
    """Power law integrated over bins of energy."""

    def __init__(self, name="powerlaw"):
        self.amplitude = Parameter(name, "amplitude", 0.0)
        self.index = Parameter(name, "index", 2.0)
        super().__init__(name, (self.amplitude, self.index))

    def calc(self, p, low, high=None, **kwargs):
        amplitude, index = p
        low, high = np.asarray(low) * KEV, np.asarray(high) * KEV
        return amplitude * (low ** (1 - index) - high ** (1 - index)) / (index - 1)


def main(path, amplitude="0", index="2"):
    ui.load_pha(path)
    ui.ignore_bad()
    ui.set_stat("wstat")
    model = PowerLaw()
    model.amplitude, model.index = float(amplitude), float(index)
    ui.set_source(model)
    print(f"{float(ui.calc_stat()):.12g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
