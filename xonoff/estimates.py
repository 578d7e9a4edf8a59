"""What the accessor ``ds.onoff`` estimates: fits, flux points, correlated maps. One delegating call a method."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Unpack

import xarray as xr

from xonoff.typed import OnOffDataset
from xonoff.units import Position, Value

if TYPE_CHECKING:
    from xonoff import likelihood
    from xonoff.fit_result import FitResult
    from xonoff.models import SkyModel
    from xonoff.predict import Models

__all__ = ["Estimates"]


class Estimates:
    """Methods of ``ds.onoff`` that estimate: of sources, by models, and of maps and spectra, by counts alone."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    # -- of models --

    def fit(
        self, models: "Models" = None, *, minos: Iterable[str] = (), **options: "Unpack[likelihood.Options]"
    ) -> "FitResult":
        """Fit models to the dataset, which is read. See `xonoff.fitting.fit`."""
        from xonoff import fitting

        return fitting.fit(self._ds, models, minos=minos, **options)

    def stat_profile(
        self, name: str, models: "Models" = None, *, values: Any = None, **options: "Unpack[likelihood.Options]"
    ) -> xr.Dataset:
        """WStat at values of a parameter, all others at their best. See `xonoff.profiles.stat_profile`."""
        from xonoff import profiles

        return profiles.stat_profile(self._ds, name, models, values=values, **options)

    def stat_contour(
        self,
        names: tuple[str, str],
        models: "Models" = None,
        *,
        level: float = 0.6827,
        points: int = 40,
        **options: "Unpack[likelihood.Options]",
    ) -> xr.Dataset:
        """Contour of two parameters, all others at their best. See `xonoff.profiles.stat_contour`."""
        from xonoff import profiles

        return profiles.stat_contour(self._ds, names, models, level=level, points=points, **options)

    def source_ts(
        self,
        models: "Models | FitResult" = None,
        source: str | None = None,
        *,
        refit: bool = True,
        interpolation: Literal["linear", "nearest"] = "linear",
    ) -> xr.Dataset:
        """TS of a source, with and without it; the dataset is read. See `xonoff.ts.source_ts`."""
        from xonoff import ts

        return ts.source_ts(self._ds, models, source, refit=refit, interpolation=interpolation)

    def flux_points(
        self,
        models: "Models | FitResult" = None,
        source: str | None = None,
        energy_edges: Value | None = None,
        **options: Any,
    ) -> OnOffDataset:
        """Flux of a source in bins of energy; the pixels that it reaches are read. See `xonoff.sed.flux_points`."""
        from xonoff import sed

        return sed.flux_points(self._ds, models, source, energy_edges, **options)

    def ts_map(self, model: "SkyModel", **options: Any) -> OnOffDataset:
        """Fit the flux of a source at every pixel. See `xonoff.source_scan.ts_map`."""
        from xonoff import source_scan

        return source_scan.ts_map(self._ds, model, **options)

    # -- of counts --

    def correlate(
        self, radius: Value, energy_edges: Value | None = None, *, correlate_off: bool | None = None
    ) -> OnOffDataset:
        """On/off data of the disc around each pixel. See `xonoff.correlation.correlate`."""
        from xonoff import correlation

        return correlation.correlate(self._ds, radius, energy_edges, correlate_off=correlate_off)

    def excess_map(self, radius: Value, energy_edges: Value | None = None, **options: Any) -> OnOffDataset:
        """Excess, significance, errors, limits and flux within a radius. See `xonoff.correlation.excess_map`."""
        from xonoff import correlation

        return correlation.excess_map(self._ds, radius, energy_edges, **options)

    def ring_background(self, r_in: Value, width: Value, exclusion: Any = None, **options: Any) -> OnOffDataset:
        """On/off dataset with off counts from a ring around each pixel. See `xonoff.backgrounds.ring_background`."""
        from xonoff import backgrounds

        return backgrounds.ring_background(self._ds, r_in, width, exclusion=exclusion, **options)

    def reflected_spectrum(
        self, region: Any, pointing: Position | None = None, exclusion: Any = None, **options: Any
    ) -> OnOffDataset:
        """On/off spectrum of a region and its reflections. See `xonoff.reflected.reflected_spectrum`."""
        from xonoff import reflected

        return reflected.reflected_spectrum(self._ds, region, pointing, exclusion, **options)
