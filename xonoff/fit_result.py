"""What a fit has found: models at the minimum, errors, covariance; as a table, as text, in a notebook."""

import html
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.table import Table

from xonoff.errors import ModelError
from xonoff.models import SkyModel, from_json, parameters, to_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FitResult"]

Floats: TypeAlias = npt.NDArray[np.float64]

#: Layout of the text of a result.
LAYOUT = "xonoff fit 1"


@dataclass(frozen=True)
class FitResult:
    """What a fit has found.

    Attributes
    ----------
    success : bool
        Whether the minimum was found, and the covariance is that of a minimum.
    message : str
        Why, in words.
    models : list of SkyModel
        At the minimum, with the errors of their parameters: ready for `ds.onoff.assign_models`.
    covariance : DataArray (parameter, other)
        Of the free parameters.
    stat : float
        WStat at the minimum.
    ndf : int
        Valid bins within the masks of all datasets, less the free parameters.
    calls : int
        Evaluations of WStat.
    minos : dict of str to (float, float)
        Lower and upper errors, below and above 0, where WStat at its minimum over all other parameters is higher by 1;
        of the parameters that they were asked for, NaN where there is no such value.
    scales : dict of str to float
        Scales of alpha that were fitted with a prior, see `xonoff.Likelihood`.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3e-11, 1, 2.4, fixed={"x_0": True}), PointSource(83.65, 22.0))
    >>> result = xonoff.fit(xonoff.tutorial.dataset(), crab)
    >>> result.success, FitResult.from_json(result.to_json()).stat == result.stat
    (True, True)
    """

    success: bool
    message: str
    models: list[SkyModel]
    covariance: xr.DataArray
    stat: float
    ndf: int
    calls: int
    minos: dict[str, tuple[float, float]]
    scales: dict[str, float]

    @property
    def parameters(self) -> Table:
        """Parameters of the models as a table, with their errors; see `xonoff.models.parameters`."""
        return parameters(self.models)

    @property
    def correlation(self) -> xr.DataArray:
        """Correlation of the free parameters, (parameter, other)."""
        sigma = np.sqrt(np.diag(self.covariance.values))
        return self.covariance / np.outer(sigma, sigma)

    def to_json(self) -> str:
        """Write the result as text."""
        found = {
            "layout": LAYOUT,
            "success": self.success,
            "message": self.message,
            "models": to_json(self.models),
            "parameters": self.covariance["parameter"].values.tolist(),
            "covariance": self.covariance.values.tolist(),
            "stat": self.stat,
            "ndf": self.ndf,
            "calls": self.calls,
            "minos": self.minos,
            "scales": self.scales,
        }
        return json.dumps(found)

    @classmethod
    def from_json(cls, text: str) -> "FitResult":
        """Read a result that `to_json` has written.

        Raises
        ------
        ModelError
            If the text is something else.
        """
        try:
            found = json.loads(text)
            if found["layout"] != LAYOUT:
                raise ValueError(f"layout {found['layout']!r}")
            names = [str(name) for name in found["parameters"]]
            matrix = np.array(found["covariance"], dtype=np.float64).reshape(len(names), len(names))
            return cls(
                bool(found["success"]),
                str(found["message"]),
                from_json(found["models"]),
                covariance_of(names, matrix),
                float(found["stat"]),
                int(found["ndf"]),
                int(found["calls"]),
                {str(name): (float(low), float(high)) for name, (low, high) in found["minos"].items()},
                {str(name): float(scale) for name, scale in found["scales"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"text of a fit: {error!r} found, what FitResult.to_json writes accepted") from error

    def __repr__(self) -> str:
        """Return the outcome and the parameters."""
        outcome = "converged" if self.success else "FAILED"
        return f"<fit {outcome}: {self.message}; stat {self.stat:.6g}, ndf {self.ndf}>\n{self.parameters}"

    def _repr_html_(self) -> str:
        """Return the same for a notebook cell."""
        outcome = "converged" if self.success else "<b>failed</b>"
        head = f"Fit {outcome}: {html.escape(self.message)}. WStat {self.stat:.6g}, {self.ndf} degrees of freedom."
        return f"<p>{head}</p>{self.parameters._repr_html_()}"

    def plot_covariance(self, *, ax: "Axes | None" = None, **style: Any) -> "Axes":
        """Correlation of the free parameters as an image. See `xonoff.fit_plot.plot_covariance`."""
        from xonoff import fit_plot

        return fit_plot.plot_covariance(self.covariance, ax=ax, **style)


def covariance_of(names: list[str], matrix: Floats) -> xr.DataArray:
    """Covariance with the names of its parameters."""
    coords = {"parameter": names, "other": names}
    return xr.DataArray(matrix, coords, ("parameter", "other"), "covariance")
