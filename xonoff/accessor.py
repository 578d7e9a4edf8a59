"""The accessor ``ds.onoff``: a doorway to the functions of this package, one delegating call a method.

It holds the dataset and nothing else, so it never goes stale. Every quantity is documented at the function it calls.
"""

import os
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Unpack

import xarray as xr
from astropy.io.fits import HDUList
from astropy.wcs import WCS

from xonoff import (
    combine,
    cutout,
    geometry,
    masks,
    observations,
    provenance,
    quantities,
    rebin,
    spectrum,
    summary,
    validity,
)
from xonoff.create import copy as copy_of
from xonoff.create import to_map_dataset
from xonoff.estimates import Estimates
from xonoff.io import fits, hdulist, ogip, project, store
from xonoff.typed import OnOffDataset
from xonoff.units import Position, Value

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xonoff.map_plot import MapOptions
    from xonoff.models import SkyModel
    from xonoff.plot import Plots
    from xonoff.predict import Models, Options
    from xonoff.residuals import Method

__all__ = ["OnOffAccessor"]

Path = str | os.PathLike[str]


@xr.register_dataset_accessor("onoff")
class OnOffAccessor(Estimates):
    """On/off quantities, geometry and writers of a dataset.

    Examples
    --------
    >>> import numpy as np
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> ds.onoff.data_shape
    (8, 40, 40)
    >>> float(ds.onoff.excess.sum().round(1)) == float((ds.counts - ds.onoff.background).sum().round(1))
    True

    Quantities, bin by bin and as sums:

    >>> round(ds.onoff.alpha.max().item(), 6)
    0.1
    >>> ds.onoff.mask.dims, bool((ds.onoff.wstat() >= 0).all())
    (('energy', 'lat', 'lon'), True)
    >>> bool(np.isclose(ds.onoff.stat_sum(), ds.onoff.wstat().where(ds.onoff.mask).sum()))
    True
    >>> map_of_all_energies = ds.onoff.significance("energy")
    >>> bool(map_of_all_energies.max() > 20)
    True
    >>> profiled = ds.onoff.npred_background()
    >>> bool(np.allclose(profiled, ds.onoff.alpha * ds.onoff.npred_off()))
    True

    Observations and energies:

    >>> float(ds.onoff.livetime), ds.onoff.gti.duration.values.tolist()
    (3350.0, [1800.0, 1800.0])
    >>> low, high = ds.onoff.energy_range
    >>> round(low.max().item(), 3), round(high.min().item(), 3)
    (0.889, 50.0)

    Other datasets:

    >>> ds.onoff.to_masked().counts.sum().item() == ds.counts.where(ds.mask_safe).sum().item()
    True
    """

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
    def provenance(self) -> list[dict[str, Any]]:
        """Steps that made the dataset. See `xonoff.provenance.provenance`."""
        return provenance.provenance(self._ds)

    @property
    def mask(self) -> xr.DataArray:
        """Bins within ``mask_safe`` and ``mask_fit``. See `xonoff.quantities.mask`."""
        return quantities.mask(self._ds)

    def wstat(self, models: "Models" = None, **options: "Unpack[Options]") -> xr.DataArray:
        """WStat of each bin, with the signal of models. See `xonoff.quantities.wstat`."""
        return quantities.wstat(self._ds, self._signal(models, **options))

    def stat_array(self, models: "Models" = None, **options: "Unpack[Options]") -> xr.DataArray:
        """WStat of each bin, under the name that gammapy gives it. See `xonoff.quantities.wstat`."""
        return self.wstat(models, **options)

    def stat_sum(self, models: "Models" = None, **options: "Unpack[Options]") -> xr.DataArray:
        """Sum of WStat within the masks, with the signal of models. See `xonoff.quantities.stat_sum`."""
        return quantities.stat_sum(self._ds, self._signal(models, **options))

    def npred_background(self, models: "Models" = None, **options: "Unpack[Options]") -> xr.DataArray:
        """Background in the on region, profiled with the signal. See `xonoff.quantities.npred_background`."""
        return quantities.npred_background(self._ds, self._signal(models, **options))

    def npred_off(self, models: "Models" = None, **options: "Unpack[Options]") -> xr.DataArray:
        """Background in the off region, profiled with the signal. See `xonoff.quantities.npred_off`."""
        return quantities.npred_off(self._ds, self._signal(models, **options))

    def npred_signal(
        self, models: "Models" = None, *, per_model: bool = False, **options: "Unpack[Options]"
    ) -> xr.DataArray:
        """Predict the counts of models. See `xonoff.predict.npred_signal`."""
        from xonoff import predict  # here, for astropy.modeling takes longer to import than all of xonoff

        return predict.npred_signal(self._ds, models, per_model=per_model, **options)

    def npred(self, models: "Models" = None, **options: "Unpack[Options]") -> xr.DataArray:
        """Predict the counts of models and background. See `xonoff.predict.npred`."""
        from xonoff import predict

        return predict.npred(self._ds, models, **options)

    def residuals(
        self,
        method: "Method" = "diff",
        models: "Models" = None,
        *,
        smooth: Value | None = None,
        dim: Hashable | Iterable[Hashable] | None = None,
    ) -> xr.DataArray:
        """Counts above the prediction of models and background. See `xonoff.residuals.residuals`."""
        from xonoff import residuals

        return residuals.residuals(self._ds, method, models, smooth=smooth, dim=dim)

    def _signal(self, models: "Models", **options: "Unpack[Options]") -> xr.DataArray | None:
        if models is None and not self._ds.attrs.get("models"):
            return None
        from xonoff import predict

        return predict.signal_of(self._ds, models, **options)

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
        """Good time intervals. See `xonoff.observations.gti`."""
        return observations.gti(self._ds)

    @property
    def livetime(self) -> xr.DataArray:
        """Livetime of all observations, s. See `xonoff.observations.livetime`."""
        return observations.livetime(self._ds)

    # -- masks: see xonoff.masks, also for masks from regions, energies and significance --

    @property
    def mask_image(self) -> xr.DataArray:
        """Pixels within the masks in any energy bin. See `xonoff.masks.image`."""
        return masks.image(self._ds)

    @property
    def mask_safe_image(self) -> xr.DataArray:
        """Pixels within ``mask_safe`` in any energy bin. See `xonoff.masks.image`."""
        return masks.image(self._ds, "mask_safe")

    @property
    def mask_fit_image(self) -> xr.DataArray:
        """Pixels within ``mask_fit`` in any energy bin. See `xonoff.masks.image`."""
        return masks.image(self._ds, "mask_fit")

    @property
    def mask_safe_psf(self) -> xr.DataArray:
        """``mask_safe`` on the grid of the PSF. See `xonoff.masks.on_psf`."""
        return masks.on_psf(self._ds, "mask_safe")

    @property
    def mask_fit_psf(self) -> xr.DataArray:
        """``mask_fit`` on the grid of the PSF. See `xonoff.masks.on_psf`."""
        return masks.on_psf(self._ds, "mask_fit")

    @property
    def mask_safe_edisp(self) -> xr.DataArray:
        """``mask_safe`` on the grid of the energy dispersion. See `xonoff.masks.on_edisp`."""
        return masks.on_edisp(self._ds, "mask_safe")

    @property
    def mask_fit_edisp(self) -> xr.DataArray:
        """``mask_fit`` on the grid of the energy dispersion. See `xonoff.masks.on_edisp`."""
        return masks.on_edisp(self._ds, "mask_fit")

    @property
    def energy_range_safe(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Lowest and highest energy within ``mask_safe``, in every pixel. See `xonoff.quantities.energy_range`."""
        return quantities.energy_range(self._ds, "mask_safe")

    @property
    def energy_range_fit(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Lowest and highest energy within ``mask_fit``, in every pixel. See `xonoff.quantities.energy_range`."""
        return quantities.energy_range(self._ds, "mask_fit")

    @property
    def energy_range_total(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Lowest and highest energy within the masks in any pixel. See `xonoff.masks.energy_range_total`."""
        return masks.energy_range_total(self._ds)

    # -- other datasets: parts, wider bins, spectra, sums --

    def cutout(
        self,
        position: Position,
        width: Value | tuple[Value, Value],
        mode: Literal["trim", "partial", "strict"] = "trim",
    ) -> OnOffDataset:
        """Cut out the pixels around a position. See `xonoff.cutout.cutout`."""
        return cutout.cutout(self._ds, position, width, mode)

    def sel(self, position: Position) -> OnOffDataset:
        """Pixels that hold some positions. See `xonoff.cutout.sel`."""
        return cutout.sel(self._ds, position)

    def slice_by_energy(self, lo: Value | None = None, hi: Value | None = None) -> OnOffDataset:
        """Keep the energy bins within a range. See `xonoff.cutout.slice_by_energy`."""
        return cutout.slice_by_energy(self._ds, lo, hi)

    def pad(self, n: int | tuple[int, int]) -> OnOffDataset:
        """Add empty pixels around a map. See `xonoff.cutout.pad`."""
        return cutout.pad(self._ds, n)

    def downsample(self, factor: int | tuple[int, int], *, axis: Literal["sky", "energy"] = "sky") -> OnOffDataset:
        """Join neighbouring pixels, or energy bins. See `xonoff.rebin.downsample`."""
        return rebin.downsample(self._ds, factor, axis=axis)

    def resample_energy(self, edges: Value) -> OnOffDataset:
        """Join energy bins. See `xonoff.rebin.resample_energy`."""
        return rebin.resample_energy(self._ds, edges)

    def group(self, counts_off: float) -> OnOffDataset:
        """Join energy bins until each holds enough off counts. See `xonoff.rebin.group`."""
        return rebin.group(self._ds, counts_off)

    def to_image(self, spectrum: rebin.Spectrum | None = None, *, keep_energy_true: bool = False) -> OnOffDataset:
        """Sum over energy. See `xonoff.rebin.to_image`."""
        return rebin.to_image(self._ds, spectrum, keep_energy_true=keep_energy_true)

    def to_spectrum(self, on_region: Any, *, containment_correction: bool = False) -> OnOffDataset:
        """Sum a map over a region. See `xonoff.spectrum.to_spectrum`."""
        return spectrum.to_spectrum(self._ds, on_region, containment_correction=containment_correction)

    @property
    def effective_area(self) -> xr.DataArray:
        """``exposure / livetime``, m2. See `xonoff.spectrum.effective_area`."""
        return spectrum.effective_area(self._ds)

    def to_map_dataset(self) -> OnOffDataset:
        """Replace off counts by the background that they make. See `xonoff.create.to_map_dataset`."""
        return to_map_dataset(self._ds)

    def copy(self, name: str | None = None) -> OnOffDataset:
        """Copy with arrays of its own, under a new name. See `xonoff.create.copy`."""
        return copy_of(self._ds, name)

    def stack(self, other: xr.Dataset) -> OnOffDataset:
        """Add another dataset, on the geometry of this one. See `xonoff.combine.stack`."""
        return combine.stack([self._ds, other], self.geom)

    def to_masked(self) -> OnOffDataset:
        """Apply ``mask_safe``. See `xonoff.combine.to_masked`."""
        return combine.to_masked(self._ds)

    # -- models: see xonoff.models --

    def assign_models(self, models: "SkyModel | Iterable[SkyModel] | None") -> OnOffDataset:
        """Carry sky models along. See `xonoff.models.assign_models`."""
        from xonoff.models import assign_models

        return assign_models(self._ds, models)

    def fake(self, background: Any, seed: int | None = None, models: "Models" = None) -> OnOffDataset:
        """Simulate the counts of models and a background. See `xonoff.simulate.fake`."""
        from xonoff import simulate

        return simulate.fake(self._ds, background, seed, models)

    def asimov(self, background: Any, models: "Models" = None) -> OnOffDataset:
        """Set the counts to what models and a background predict. See `xonoff.simulate.asimov`."""
        from xonoff import simulate

        return simulate.asimov(self._ds, background, models)

    @property
    def models(self) -> "list[SkyModel]":
        """Sky models that the dataset carries. See `xonoff.models.models_of`."""
        from xonoff.models import models_of

        return models_of(self._ds)

    @property
    def parameters(self) -> "Table":
        """Parameters of these models as a table. See `xonoff.models.parameters`."""
        from xonoff.models import parameters

        return parameters(self.models)

    # -- writers --

    def to_fits(self, path: Path, *, overwrite: bool = False) -> None:
        """Write FITS that gammapy reads. See `xonoff.io.fits.to_fits`."""
        fits.to_fits(self._ds, path, overwrite=overwrite)

    def to_netcdf(self, path: Path, *, overwrite: bool = False) -> None:
        """Write netCDF. See `xonoff.io.store.to_netcdf`."""
        store.to_netcdf(self._ds, path, overwrite=overwrite)

    def to_zarr(self, path: Any, *, overwrite: bool = False, storage_options: Mapping[str, Any] | None = None) -> None:
        """Write a Zarr store, also under a URL. See `xonoff.io.store.to_zarr`."""
        store.to_zarr(self._ds, path, overwrite=overwrite, storage_options=storage_options)

    def to_ogip(self, path: Path, *, overwrite: bool = False) -> None:
        """Write a spectrum for XSPEC and Sherpa. See `xonoff.io.ogip.to_ogip`."""
        ogip.to_ogip(self._ds, path, overwrite=overwrite)

    def to_hdulist(self) -> HDUList:
        """HDUs of the dataset, in memory. See `xonoff.io.hdulist.to_hdulist`."""
        return hdulist.to_hdulist(self._ds)

    def to_dict(self, filename: str = "") -> dict[str, Any]:
        """Entry of the dataset in a YAML project. See `xonoff.io.project.to_dict`."""
        return project.to_dict(self._ds, filename)

    # -- looking --

    @property
    def plot(self) -> "Plots":
        """Plots of the dataset: ``plot.counts()``, ``plot.excess()``, ... See `xonoff.plot.Plots`."""
        from xonoff.plot import Plots

        return Plots(self._ds)

    def plot_residuals(
        self,
        method: "Method" = "diff",
        smooth: Value | None = "0.1 deg",
        region: Any = None,
        models: "Models" = None,
        *,
        ax: "Axes | None" = None,
        ax_spectrum: "Axes | None" = None,
        **options: "Unpack[MapOptions]",
    ) -> "Axes | tuple[Axes, Axes]":
        """Map of residuals, and with a region their spectrum. See `xonoff.plot.Plots.residuals`."""
        return self.plot.residuals(method, smooth, region, models, ax=ax, ax_spectrum=ax_spectrum, **options)

    def peek(self, **options: "Unpack[MapOptions]") -> "Figure":
        """Counts, excess and significance maps and the spectrum in one figure. See `xonoff.plot.Plots.peek`."""
        return self.plot.peek(**options)

    def __repr__(self) -> str:
        """Return axes, sky and masks in words."""
        rows = "\n".join(f"  {key}: {value}" for key, value in summary.axis_rows(self._ds))
        return f"<on/off dataset {self.name!r}>\n{rows}"

    def _repr_html_(self) -> str:
        """Return the summary of a notebook cell. See `xonoff.summary.html`."""
        return summary.html(self._ds)
