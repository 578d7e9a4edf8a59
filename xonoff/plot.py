"""Plots of a dataset as ``ds.onoff.plot`` offers them, with matplotlib (extra ``plot``).

Every plot takes ``ax=`` and returns the axes it drew on; none calls ``show``. Maps are summed over energy within the
masks. Plotting computes what it shows.
"""

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import xarray as xr

from xonoff import quantities
from xonoff.errors import GeometryError, SchemaError
from xonoff.figure import pyplot
from xonoff.geometry import sky_dims, sky_grid
from xonoff.map_plot import MapOptions, check_options, dataset_options, sky_map
from xonoff.overlay import outline
from xonoff.region import region_mask
from xonoff.spectrum_plot import residual_spectrum, spectrum, valid_counts, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xonoff.predict import Models
    from xonoff.residuals import Method
    from xonoff.units import Value

__all__ = ["Plots", "residual_spectrum", "sky_map", "spectrum"]

#: Options of maps that the points of a spectrum have too.
BOTH = ("alpha", "rasterized", "zorder")


class Plots:
    """The plots of one dataset, as ``ds.onoff.plot`` offers them.

    Those of maps take what `xonoff.map_plot.MapOptions` lists: a grid, sources, regions, a scale bar, the size of the
    PSF, and the arguments of `matplotlib.axes.Axes.imshow`.

    Examples
    --------
    >>> import xonoff
    >>> ax = xonoff.tutorial.dataset().onoff.plot.counts(grid="galactic", scale_bar="0.5 deg", psf=True)
    >>> ax.get_title()
    'counts'
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def counts(self, *, ax: "Axes | None" = None, **options: Unpack[MapOptions]) -> "Axes":
        """Map of the counts, summed over energy within the masks. See `xonoff.map_plot.MapOptions`."""
        inside = valid_counts(self._ds)
        over = _energy(self._ds)
        total = self._ds["counts"].where(inside, 0).sum(over, dtype=np.float64)
        return self._map(total.where(inside.any(over)), "counts", ax, False, options)

    def excess(self, *, ax: "Axes | None" = None, **options: Unpack[MapOptions]) -> "Axes":
        """Map of the excess, summed over energy within the masks, on a colour scale symmetric about 0."""
        total = quantities.excess(quantities.on_off_sums(self._ds, _energy(self._ds)))
        return self._map(total, "excess counts", ax, True, options)

    def significance(self, *, ax: "Axes | None" = None, **options: Unpack[MapOptions]) -> "Axes":
        """Map of the significance of each pixel, summed over energy within the masks, in standard deviations."""
        total = quantities.significance(self._ds, dim=_energy(self._ds))
        return self._map(total, "significance (standard deviations)", ax, True, options)

    def spectrum(self, *, ax: "Axes | None" = None, **style: Any) -> "Axes":
        """Counts, background and excess per energy bin, summed over the sky within the masks.

        See `xonoff.spectrum_plot.spectrum`.
        """
        return spectrum(self._ds, ax=ax, **style)

    def interactive(self, name: str = "counts", **options: Any) -> Any:
        """Map with an energy slider, for a notebook. See `xonoff.interactive.explore`."""
        from xonoff.interactive import explore

        return explore(self._ds, name, **options)

    def residuals(
        self,
        method: "Method" = "diff",
        smooth: "Value | None" = "0.1 deg",
        region: Any = None,
        models: "Models" = None,
        *,
        ax: "Axes | None" = None,
        ax_spectrum: "Axes | None" = None,
        **options: Unpack[MapOptions],
    ) -> "Axes | tuple[Axes, Axes]":
        """Map of the residuals, summed over energy within the masks; with a region also their spectrum in it.

        What is refused is refused before a figure is made.

        Parameters
        ----------
        method : {"diff", "diff/model", "diff/sqrt(model)"}
            See `xonoff.residuals.residuals`.
        smooth : angle, deg, optional
            Sigma of a Gaussian that counts and prediction of the map are averaged with first.
        region : Region, optional
            Sky or pixel region of the package `regions`: it is outlined on the map, and a second panel has the
            residuals of each energy in it, not smoothed, see `xonoff.residuals.spectral_residuals`.
        models : SkyModel or iterable of SkyModel, optional
            Those that the dataset carries by default.
        ax, ax_spectrum : Axes, optional
            For the map, with a WCS projection, and with a region for the spectrum; new ones by default.
        **options
            Of the map, see `xonoff.map_plot.MapOptions`. A spectrum takes those of `matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        Axes, or two of them
            Of the map; with a region, of map and spectrum; of a dataset without sky, which has one spectrum, of that.

        Examples
        --------
        >>> import xonoff
        >>> ax = xonoff.tutorial.dataset().onoff.plot.residuals("diff/sqrt(model)")
        >>> ax.get_title()
        'residuals, smoothed'
        """
        from xonoff.residuals import METHODS, residuals  # here, for astropy.modeling takes long to import

        if not sky_dims(self._ds):
            style: dict[str, Any] = dict(options)
            if of_maps := [name for name in style if name in MapOptions.__annotations__ and name not in BOTH]:
                raise SchemaError(
                    f"{', '.join(of_maps)} found, arguments of the map of residuals, none accepted for a spectrum: "
                    "give those of errorbar"
                )
            return residual_spectrum(self._ds, region, method, models, ax=ax, **style)
        if isinstance(region, list | tuple) or type(region).__name__ == "Regions":
            raise SchemaError(f"region: {len(region)} regions found, one accepted: join them with |")
        if region is not None and not _energy(self._ds):
            raise GeometryError(
                "region: a map of one energy found, one with the dimension energy accepted, for the spectrum of the "
                "region: leave region out, or select the energy with isel(energy=[i])"
            )
        total = residuals(self._ds, method, models, smooth=smooth, dim=_energy(self._ds))
        sky = sky_grid(total)
        if region is not None:
            region_mask(region, sky)  # refuses it before anything is drawn
        own = dataset_options(self._ds, options)
        check_options(own, sky)
        if region is not None and ax is None and ax_spectrum is None:
            figure = pyplot().figure(figsize=(11, 4.25), layout="constrained")
            ax, ax_spectrum = figure.add_subplot(1, 2, 1, projection=sky.wcs), figure.add_subplot(1, 2, 2)
        ax = sky_map(total, written(METHODS[method]), ax=ax, symmetric=True, **own)
        ax.set_title("residuals" if smooth is None else "residuals, smoothed")
        if region is None:
            return ax
        outline(ax, region, sky)
        return ax, residual_spectrum(self._ds, region, method, models, ax=ax_spectrum)

    def peek(self, **options: Unpack[MapOptions]) -> "Figure":
        """Counts, excess, significance and spectrum in one figure; of a spectrum, the spectrum alone.

        Without off data, the counts and their spectrum. Options are those of the maps.
        """
        plt = pyplot()
        if not sky_dims(self._ds):
            return self.spectrum().figure  # type: ignore[return-value]  # never a subfigure here
        complete = all(name in self._ds for name in quantities.ON_OFF)
        maps = (self.counts, self.excess, self.significance) if complete else (self.counts,)
        rows = 2 if complete else 1
        wcs = sky_grid(self._ds).wcs
        figure: Figure = plt.figure(figsize=(11, 4.25 * rows), layout="constrained")
        for place, draw in enumerate(maps, 1):
            draw(ax=figure.add_subplot(rows, 2, place, projection=wcs), **options)
        self.spectrum(ax=figure.add_subplot(rows, 2, 2 * rows))
        figure.suptitle(str(self._ds.attrs.get("name") or ""), parse_math=False)
        return figure

    def _map(self, array: xr.DataArray, label: str, ax: "Axes | None", symmetric: bool, options: MapOptions) -> "Axes":
        return sky_map(array, label, ax=ax, symmetric=symmetric, **dataset_options(self._ds, options))


def _energy(ds: xr.Dataset) -> list[str]:
    """Dimensions that a map is summed over: none where one energy is left of a cube."""
    return [dim for dim in ("energy",) if dim in quantities.mask(ds).dims]
