"""What made a dataset: the attribute ``provenance``, JSON that travels with it through Zarr, netCDF and FITS.

A list of steps, the first one first: which function of which version, of which inputs by name, with which parameters.
What only selects is not in it: the coordinates tell. Nor is what plain xarray does to a dataset in between.
"""

import functools
import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ParamSpec

import numpy as np
import xarray as xr

from xonoff.typed import OnOffDataset, on_off

__all__ = ["made", "provenance", "recorded"]

P = ParamSpec("P")

#: Name of the attribute.
STEPS = "provenance"
#: Characters of one text that are kept, and items of a list.
LONGEST, MOST = 200, 8


def provenance(ds: xr.Dataset) -> list[dict[str, Any]]:
    """Steps that made a dataset, the first one first; none if it is not known.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    list of dict
        ``function``, ``made_by`` (with the version), ``inputs`` and ``parameters`` of each.

    Examples
    --------
    >>> import xonoff
    >>> image = xonoff.tutorial.dataset().onoff.downsample(2).onoff.to_image()
    >>> for step in provenance(image):
    ...     print(step["function"], step["inputs"], step["parameters"])
    downsample ['tutorial'] {'factor': 2}
    to_image ['tutorial'] {}
    """
    try:
        found = json.loads(ds.attrs.get(STEPS, "[]"), parse_constant=str)
    except (TypeError, ValueError, RecursionError):  # of someone else
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def made(
    function: str, inputs: Iterable[Any], parameters: Mapping[str, Any], *before: dict[str, Any], **more: Any
) -> dict[str, str]:
    """Return the attribute of what a function makes of inputs, by their names, after the steps before."""
    from xonoff import __version__

    step = {"function": function, "made_by": f"xonoff {__version__}", "inputs": list(inputs)}
    return {STEPS: json.dumps([*before, {**step, "parameters": dict(parameters), **more}], default=str)}


def recorded(function: Callable[P, xr.Dataset]) -> Callable[P, OnOffDataset]:
    """Have a function of one or more datasets add itself to the provenance of what it makes.

    Inputs are parameters that are a dataset, or several. Of one input the steps are kept, of several their names only.
    Parameters that are left at their defaults are left out.
    """
    signature = inspect.signature(function)

    @on_off
    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> xr.Dataset:
        args, kwargs = tuple(map(_again, args)), {name: _again(value) for name, value in kwargs.items()}  # type: ignore[assignment]
        result = function(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments
        found = {name: _datasets(value) for name, value in given.items()}
        inputs = [ds for datasets in found.values() for ds in datasets]
        before = provenance(inputs[0]) if len(inputs) == 1 else []
        others = {name: value for name, value in given.items() if not found[name]}
        parameters = {
            name: _plain(value)
            for name, value in others.items()
            if value is not signature.parameters[name].default  # small constants and texts are one object
        }
        for name in [name for name, value in signature.parameters.items() if value.kind is value.VAR_KEYWORD]:
            parameters |= {key: _plain(value) for key, value in given.get(name, {}).items()}
            parameters.pop(name, None)
        names = [str(ds.attrs.get("name", "")) for ds in inputs]
        return result.assign_attrs(made(function.__name__, names, parameters, *before))

    return run


def _again(value: Any) -> Any:
    """Parameter that can be gone through more than once."""
    return list(value) if isinstance(value, Iterator) else value


def _datasets(value: Any) -> list[xr.Dataset]:
    """Datasets of a parameter."""
    if isinstance(value, xr.Dataset):
        return [value]
    return [item for item in value if isinstance(item, xr.Dataset)] if isinstance(value, list | tuple) else []


def _plain(value: Any) -> Any:
    """Parameter as JSON has it: a finite number or a text as it is, of all else what it is in words, but not where."""
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple) and len(value) <= MOST:
        return [_plain(item) for item in value]
    if isinstance(value, str):
        text = value
    elif isinstance(value, xr.DataArray):
        text = f"{type(value).__name__} {value.name!r}"
    else:
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(value).split()))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
