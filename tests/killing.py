"""Run a function of a test module in a subprocess that may crash, hang or be killed.

`Forker` starts one Python, which imports the test module once and then forks a child for every call: thirty killed
writers cost thirty forks, not thirty imports. The function takes strings (paths, numbers) as arguments.
"""

import importlib
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator

LIMIT = 60  # seconds a child may run before SIGALRM ends it


class Forker:
    """Call ``"module:function"`` in forked children; use as a context manager."""

    def __init__(self, function: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, __file__, function]
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )

    def __enter__(self) -> "Forker":
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def call(self, *arguments: object, kill_after: float | None = None) -> int:
        """Return the exit status: 0, 1 if the function raised, minus the signal if one ended it."""
        self._server.stdin.write("\t".join(map(str, arguments)) + "\n")
        pid = int(self._server.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)  # the server reaps it only when told, so the pid is still its own
        self._server.stdin.write("\n")
        return int(self._server.stdout.readline())


def kill_writer(function: str, path: object, versions: range, seed: int = 0) -> Iterator[tuple[int, bool]]:
    """Let a writer write one version after the other to `path`, killed at random times; yield version and fate.

    The writer is called as ``function(path, version)``. The times are uniform over the duration of a whole write, as
    measured first, with ``versions[0]`` (which is on disk, whole, when the first kill comes).
    """
    rng = random.Random(seed)
    with Forker(function) as forker:
        durations = []
        for _ in range(3):
            start = time.perf_counter()
            assert forker.call(path, versions[0]) == 0
            durations.append(time.perf_counter() - start)
        for version in versions[1:]:
            yield version, forker.call(path, version, kill_after=rng.uniform(0, min(durations))) == -signal.SIGKILL


def _serve(function: str) -> None:
    module, name = function.split(":")
    call = getattr(importlib.import_module(module), name)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.alarm(LIMIT)
            try:
                call(*line.rstrip("\n").split("\t"))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(pid, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
