"""What a fit has found: models at the minimum, errors, covariance; as a table, as text, in a notebook."""

import html
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

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
T = TypeVar("T")

#: Layout of the text of a result.
LAYOUT = "xonoff fit 2"


@dataclass(frozen=True, eq=False)
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
        Of the free parameters; NaN for those that have none, at a bound or where WStat has a kink.
    stat : float
        WStat at the minimum, with the pulls of priors.
    ndf : int
        Valid bins within the masks of all datasets and priors, less the free parameters.
    calls : int
        Evaluations of WStat, but for those of its derivatives.
    minos : dict of str to (float, float)
        Lower and upper errors, below and above 0, where WStat at its minimum over all other parameters is higher by 1;
        of the parameters that they were asked for, NaN where there is no such value.
    scales : dict of str to float
        Scales of alpha that were fitted with a prior, see `xonoff.Likelihood`.
    tied : dict of str to str
        Parameters that follow another one.
    priors : dict of str to (float, float)
        Means and standard deviations of priors.

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
    tied: dict[str, str]
    priors: dict[str, tuple[float, float]]

    @property
    def parameters(self) -> Table:
        """Parameters of the models as a table, with their errors; see `xonoff.models.parameters`."""
        return parameters(self.models)

    @property
    def correlation(self) -> xr.DataArray:
        """Correlation of the free parameters, (parameter, other)."""
        return correlation_of(self.covariance)

    def to_json(self) -> str:
        """Write the result as text; what is not finite as null."""
        found = {
            "layout": LAYOUT,
            "success": bool(self.success),
            "message": self.message,
            "models": to_json(self.models),
            "parameters": self.covariance["parameter"].values.tolist(),
            "covariance": [[_known(value) for value in row] for row in self.covariance.values.tolist()],
            "stat": _known(self.stat),
            "ndf": self.ndf,
            "calls": self.calls,
            "minos": {name: [_known(end) for end in ends] for name, ends in self.minos.items()},
            "scales": self.scales,
            "tied": self.tied,
            "priors": self.priors,
        }
        return json.dumps(found, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "FitResult":
        """Read a result that `to_json` has written.

        Raises
        ------
        ModelError
            If the text is something else.
        """
        try:
            found = json.loads(text, parse_constant=_refuse)
            if found["layout"] != LAYOUT:
                raise ValueError(f"layout {found['layout']!r}")
            names = [_as(str, name) for name in _as(list, found["parameters"])]
            if len(set(names)) < len(names):
                raise ValueError("a parameter comes twice")
            rows = [[_number(value) for value in row] for row in _as(list, found["covariance"])]
            if [len(row) for row in rows] != [len(names)] * len(names):
                raise ValueError("covariance of other parameters")
            return cls(
                success=_as(bool, found["success"]),
                message=_as(str, found["message"]),
                models=from_json(found["models"]),
                covariance=covariance_of(names, np.array(rows, dtype=np.float64).reshape(len(names), len(names))),
                stat=_number(found["stat"]),
                ndf=_as(int, found["ndf"]),
                calls=_as(int, found["calls"]),
                minos=_pairs(found["minos"]),
                scales={name: _number(scale) for name, scale in found["scales"].items()},
                tied={name: _as(str, leader) for name, leader in found["tied"].items()},
                priors=_pairs(found["priors"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
            raise ModelError(f"text of a fit: {error!r:.200} found, what FitResult.to_json writes accepted") from error

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


def correlation_of(covariance: xr.DataArray) -> xr.DataArray:
    """Correlation of parameters, NaN where there is no covariance."""
    sigma = np.sqrt(np.diag(covariance.values))
    return covariance / np.outer(sigma, sigma)


# -- text -------------------------------------------------------------------------------------------------------------


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _number(value: Any) -> float:
    """Give the number that is meant, NaN by null."""
    if value is None:
        return np.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} in the place of a number")
    return float(value)


def _pairs(found: dict[str, Any]) -> dict[str, tuple[float, float]]:
    return {name: (_number(low), _number(high)) for name, (low, high) in found.items()}


def _as(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{value!r:.40} in the place of a {kind.__name__}")
    return value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant}, which is no JSON")
