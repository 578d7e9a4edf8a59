"""Run functions of a test module in subprocesses that may crash, hang or be killed.

`Forker` starts one Python, which imports the test module once and then forks a child for every call: thirty killed
writers cost thirty forks, not thirty imports. Use it as a fixture of module scope::

    @pytest.fixture(scope="module")
    def forker():
        with Forker(__name__) as forker:
            yield forker
"""

import contextlib
import importlib
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator

import xarray as xr

LIMIT = 60  # seconds a child may run before SIGALRM ends it


class Forker:
    """Call functions of a module in forked children; they get their arguments as strings."""

    def __init__(self, module: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, __file__, module]
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )

    def __enter__(self) -> "Forker":
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def call(self, function: str, *arguments: object, kill_after: float | None = None) -> int:
        """Return the exit status: 0, 1 if the function raised, minus the signal if one ended it."""
        self._server.stdin.write("\t".join([function, *map(str, arguments)]) + "\n")
        pid = int(self._server.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)  # the server reaps it only when told, so the pid is still its own
        self._server.stdin.write("\n")
        return int(self._server.stdout.readline())


def kill_writer(
    forker: Forker, writer: str, path: object, versions: range, seed: int = 0
) -> Iterator[tuple[int, bool]]:
    """Let a writer write one version after the other to `path`, killed at random times; yield version and fate.

    The writer is called as ``writer(path, version)``. The times are uniform over the duration of a whole write, as
    measured first, with ``versions[0]`` (which is on disk, whole, when the first kill comes).
    """
    rng = random.Random(seed)
    durations = []
    for _ in range(3):
        start = time.perf_counter()
        assert forker.call(writer, path, versions[0]) == 0
        durations.append(time.perf_counter() - start)
    for version in versions[1:]:
        yield version, forker.call(writer, path, version, kill_after=rng.uniform(0, min(durations))) == -signal.SIGKILL


def _serve(name: str) -> None:
    module = importlib.import_module(name)
    xr.backends.list_engines()  # what dask and xarray look up once a process is slow: not in every child
    with contextlib.suppress(ImportError):
        importlib.import_module("distributed")
    for line in sys.stdin:
        function, *arguments = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            signal.alarm(LIMIT)
            try:
                getattr(module, function)(*arguments)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(pid, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
