"""Share independent work on arrays out to threads."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

__all__ = ["in_threads"]

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


def _n_threads() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
