"""Share independent work on arrays out to threads."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["in_threads", "product"]

Floats = NDArray[np.float64]

#: Multiplications up to which OpenBLAS works on one core.
BLOCK = 250_000

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], tasks: Iterable[T], *, at_least: int = 4) -> list[R]:
    """Call a function on every task, and list what it returns, in order.

    Many tasks are shared out to threads, but only from the main thread: in a dask worker the threads are dask's.

    Parameters
    ----------
    function : callable
        Releases the interpreter lock where it works: compiled kernels, numpy.
    tasks : iterable
        What it is called with.
    at_least : int
        Fewer tasks are not worth a thread.

    Examples
    --------
    >>> in_threads(abs, [-2, 3])
    [2, 3]
    """
    tasks = list(tasks)
    if len(tasks) < at_least or threading.current_thread() is not threading.main_thread():
        return [function(task) for task in tasks]
    rest = iter(enumerate(tasks))

    def work(_: int) -> list[tuple[int, R]]:
        return [(number, function(task)) for number, task in rest]  # each takes the next that is left

    threads = min(_n_threads(), len(tasks))
    with ThreadPoolExecutor(threads) as pool:  # one future a thread: hundreds would cost milliseconds
        done = dict(chain.from_iterable(pool.map(work, range(threads))))
    return [done[number] for number in range(len(tasks))]


def product(a: Floats, b: Floats) -> Floats:
    """Product of two matrices on one core.

    BLAS shares even a small one out to threads, which wait for each other: that is slower than the product itself where
    the cores are busy, as they are under dask. It leaves blocks as small as these alone.

    Examples
    --------
    >>> product(np.ones((1000, 30)), np.ones((30, 20))).sum()
    np.float64(600000.0)
    """
    found = np.empty((len(a), b.shape[1]))
    rows = max(BLOCK // max(b.size, 1), 1)
    for start in range(0, len(a), rows):
        np.dot(a[start : start + rows], b, out=found[start : start + rows])
    return found


def _n_threads() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
