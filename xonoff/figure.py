"""New figures and axes of matplotlib (extra ``plot``), for plots that are given none."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["new_axes", "pyplot"]

#: Size of a figure with one plot, inches.
SIZE = (6.5, 5.0)


def new_axes(projection: Any = None, size: tuple[float, float] = SIZE) -> "Axes":
    """Axes of a new figure, whose labels have the room that they need.

    Parameters
    ----------
    projection : WCS, optional
        That of a map; plain axes by default.
    size : (float, float)
        Width and height of the figure, inches.

    Examples
    --------
    >>> new_axes().name
    'rectilinear'
    """
    axes: Axes = pyplot().figure(figsize=size, layout="constrained").add_subplot(projection=projection)
    return axes


def pyplot() -> Any:
    """Matplotlib's pyplot; an error that says what to install where there is none."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "xonoff[plot]"') from error
    return plt
