"""Types of this package for editors and type checkers, which do not see what an accessor adds to a Dataset.

To them a result of xonoff is an `OnOffDataset`, a Dataset with ``onoff``; what xarray makes of one by ``sel``,
``isel``, ``where`` or arithmetic is one too. When a program runs there is no such class: the result is a plain Dataset.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec

import xarray as xr

if TYPE_CHECKING:
    from xonoff.accessor import OnOffAccessor

    class OnOffDataset(xr.Dataset):
        """Dataset with the accessor ``onoff``."""

        @property
        def onoff(self) -> OnOffAccessor:
            """On/off quantities, geometry and writers of the dataset."""
else:
    OnOffDataset = xr.Dataset

__all__ = ["OnOffDataset", "on_off"]

P = ParamSpec("P")


def on_off(function: Callable[P, xr.Dataset]) -> "Callable[P, OnOffDataset]":
    """Tell type checkers that the datasets of a function have ``onoff``; the function itself is returned.

    Examples
    --------
    >>> from xonoff.cutout import pad
    >>> on_off(pad) is pad
    True
    """
    return function  # type: ignore[return-value]  # no class to make it one of
