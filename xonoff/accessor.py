"""The accessor ``ds.onoff``: a doorway to the functions of this package, one delegating call a method.

It holds the dataset and nothing else, so it never goes stale. Every quantity is documented at the function it calls.
"""

import os
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

import xarray as xr
from astropy.wcs import WCS

from xonoff import geometry, quantities, summary, validity
from xonoff.io import fits, store

if TYPE_CHECKING:
    from xonoff.plot import Plots

__all__ = ["OnOffAccessor"]

Path = str | os.PathLike[str]


@xr.register_dataset_accessor("onoff")
class OnOffAccessor:
    """On/off quantities, geometry and writers of a dataset.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> ds.onoff.data_shape
    (8, 40, 40)
    >>> float(ds.onoff.excess.sum().round(1)) == float((ds.counts - ds.onoff.background).sum().round(1))
    True
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    # -- quantities, a bin each: see xonoff.quantities --

    @property
    def alpha(self) -> xr.DataArray:
        """Ratio of on to off exposure; NaN where there is no off exposure. See `xonoff.quantities.alpha`."""
        return quantities.alpha(self._ds)

    @property
    def background(self) -> xr.DataArray:
        """``alpha * counts_off``. See `xonoff.quantities.background`."""
        return quantities.background(self._ds)

    @property
    def excess(self) -> xr.DataArray:
        """``counts - alpha * counts_off``. See `xonoff.quantities.excess`."""
        return quantities.excess(self._ds)

    @property
    def mask(self) -> xr.DataArray:
        """Bins within ``mask_safe`` and ``mask_fit``. See `xonoff.quantities.mask`."""
        return quantities.mask(self._ds)

    def wstat(self) -> xr.DataArray:
        """WStat of each bin. See `xonoff.quantities.wstat`."""
        return quantities.wstat(self._ds)

    def stat_array(self) -> xr.DataArray:
        """WStat of each bin, under the name that gammapy gives it. See `xonoff.quantities.wstat`."""
        return quantities.wstat(self._ds)

    def stat_sum(self) -> xr.DataArray:
        """Sum of WStat within the masks. See `xonoff.quantities.stat_sum`."""
        return quantities.stat_sum(self._ds)

    def npred_background(self) -> xr.DataArray:
        """Profiled background in the on region. See `xonoff.quantities.npred_background`."""
        return quantities.npred_background(self._ds)

    def npred_off(self) -> xr.DataArray:
        """Profiled background in the off region. See `xonoff.quantities.npred_off`."""
        return quantities.npred_off(self._ds)

    def significance(self, dim: Hashable | Iterable[Hashable] | None = None) -> xr.DataArray:
        """Li & Ma significance, of each bin or summed over ``dim``. See `xonoff.quantities.significance`."""
        return quantities.significance(self._ds, dim)

    # -- the dataset as a whole --

    def info(self) -> xr.Dataset:
        """Totals within the masks, and invalid bins by reason. See `xonoff.summary.info`."""
        return summary.info(self._ds)

    def validate(self) -> None:
        """Raise a SchemaError with every fault of the dataset; reads all of it. See `xonoff.validity.validate`."""
        validity.validate(self._ds)

    @property
    def name(self) -> str:
        """Name of the dataset, of ``attrs``."""
        return str(self._ds.attrs.get("name", ""))

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of the counts."""
        return quantities.data_shape(self._ds)

    @property
    def geom(self) -> geometry.Geom:
        """Sky grid and energy edges of the counts. See `xonoff.geometry.Geom`."""
        return geometry.geom(self._ds)

    @property
    def wcs(self) -> WCS:
        """Celestial WCS of the counts, derived from header and pixel labels. See `xonoff.geometry.sky_grid`."""
        return geometry.sky_grid(self._ds).wcs

    @property
    def sky_dims(self) -> tuple[Hashable, ...]:
        """Names of the sky dimensions: (lat, lon), (y, x), or none for a spectrum."""
        return geometry.sky_dims(self._ds)

    @property
    def solid_angle(self) -> xr.DataArray:
        """Solid angle of the pixels, sr. See `xonoff.geometry.solid_angle`."""
        return geometry.solid_angle(self._ds)

    @property
    def energy_range(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Lowest and highest energy within the masks, in every pixel. See `xonoff.quantities.energy_range`."""
        return quantities.energy_range(self._ds)

    @property
    def gti(self) -> xr.Dataset:
        """Good time intervals. See `xonoff.quantities.gti`."""
        return quantities.gti(self._ds)

    @property
    def livetime(self) -> xr.DataArray:
        """Livetime of all observations, s. See `xonoff.quantities.livetime`."""
        return quantities.livetime(self._ds)

    # -- writers --

    def to_fits(self, path: Path, *, overwrite: bool = False) -> None:
        """Write FITS that gammapy reads. See `xonoff.io.fits.to_fits`."""
        fits.to_fits(self._ds, path, overwrite=overwrite)

    def to_netcdf(self, path: Path, *, overwrite: bool = False) -> None:
        """Write netCDF. See `xonoff.io.store.to_netcdf`."""
        store.to_netcdf(self._ds, path, overwrite=overwrite)

    def to_zarr(self, path: Path, *, overwrite: bool = False) -> None:
        """Write a Zarr store. See `xonoff.io.store.to_zarr`."""
        store.to_zarr(self._ds, path, overwrite=overwrite)

    # -- looking --

    @property
    def plot(self) -> "Plots":
        """Plots of the dataset: ``plot.counts()``, ``plot.excess()``, ... See `xonoff.plot.Plots`."""
        from xonoff.plot import Plots

        return Plots(self._ds)

    def peek(self) -> "object":
        """Counts, excess and significance maps and the spectrum in one figure. See `xonoff.plot.Plots.peek`."""
        return self.plot.peek()

    def __repr__(self) -> str:
        """Return axes, sky and masks in words."""
        rows = "\n".join(f"  {key}: {value}" for key, value in summary.axis_rows(self._ds))
        return f"<on/off dataset {self.name!r}>\n{rows}"

    def _repr_html_(self) -> str:
        """Return the summary of a notebook cell. See `xonoff.summary.html`."""
        return summary.html(self._ds)
