"""An S3 server on loopback for tests: that of moto, in a process of its own, behind a proxy that misbehaves and dies.

What moto has taken stays in it while the proxy is killed and started anew, as a store keeps its objects when a server
of it dies. Use it as a fixture of session or module scope::

    @pytest.fixture(scope="module")
    def s3():
        with Server() as server:
            yield server

and open ``server.url("name")`` with ``storage_options=server.options()``.
"""

import contextlib
import http.client
import os
import random
import socket
import struct
import subprocess
import sys
import time
import typing
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

KEY, SECRET = "AKIDTESTKEY", "SECRETOFTHETESTS"
BUCKET = "bucket"
FAULTS = ("error", "slow", "refuse", "lose", "cut")


class Server:
    """moto and the proxy; `fail` makes the proxy misbehave."""

    def __init__(self):
        pytest.importorskip("moto", reason="moto is not installed: pip install 'xonoff[test]'")
        pytest.importorskip("obstore", reason="obstore is not installed: pip install 'xonoff[cloud]'")
        self._moto, self._proxy = None, None
        self.behind, self.port = free_port(), free_port()

    def __enter__(self):
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.behind)]
        self._moto = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.behind)
        request = urllib.request.Request(f"http://127.0.0.1:{self.behind}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request).close()
        self.start()
        return self

    def __exit__(self, *error):
        self.kill()
        self._moto.kill()
        self._moto.wait()

    def start(self, faults="", seed=0):
        """Start the proxy; ``faults`` such as "error=0.1,cut=0.05" gives the chance of each for a request."""
        command = [sys.executable, __file__, str(self.port), str(self.behind), faults, str(seed)]
        self._proxy = subprocess.Popen(command)
        wait_for(self.port)

    def kill(self):
        """Kill the proxy: what it has not yet passed on is lost, and so are answers under way."""
        self._proxy.kill()
        self._proxy.wait()

    @contextlib.contextmanager
    def failing(self, faults, seed=0):
        self.kill()
        self.start(faults, seed)
        try:
            yield
        finally:
            self.kill()
            self.start()

    def url(self, name):
        return f"s3://{BUCKET}/{name}"

    def options(self, **others):
        keys = {"access_key_id": KEY, "secret_access_key": SECRET, "region": "us-east-1"}
        return {"endpoint": f"http://127.0.0.1:{self.port}", **keys, **others}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(600):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


class Handler(BaseHTTPRequestHandler):
    """Pass a request on, or not."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 2**16
    behind = 0
    chances: typing.ClassVar[dict[str, float]] = {}
    random = random.Random()

    def log_message(self, *arguments):
        pass

    def handle_one_request(self):
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = next((name for name, chance in self.chances.items() if self.random.random() < chance), "")
        if fault == "refuse":  # before the server has it
            return self.reset()
        if fault == "error":
            return self.answer(503 if self.random.random() < 0.5 else 500, {}, b"<Error><Code>SlowDown</Code></Error>")
        if fault == "slow":
            time.sleep(0.3)
        connection = http.client.HTTPConnection("127.0.0.1", self.behind, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        connection.request(self.command, self.path, body, headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        if fault == "lose":  # the server has done it, the client does not know
            return self.reset()
        headers = dict(response.getheaders())
        if fault == "cut" and len(data) > 1:
            self.answer(response.status, headers, data, len(data) // 2)
            return self.reset()
        return self.answer(response.status, headers, data)

    def answer(self, status, headers, data, part=None):
        self.send_response(status)
        drop = ("connection", "transfer-encoding", "content-length", "date", "server")
        for name, value in headers.items():
            if name.lower() not in drop:
                self.send_header(name, value)
        length = next((v for k, v in headers.items() if k.lower() == "content-length"), len(data))
        self.send_header("Content-Length", str(length if self.command == "HEAD" else len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:part])
        self.wfile.flush()

    def reset(self):
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


def main(port, behind, faults, seed):
    Handler.behind = int(behind)
    Handler.random = random.Random(int(seed))
    Handler.chances = {name: float(p) for name, _, p in (item.partition("=") for item in faults.split(",") if item)}
    assert set(Handler.chances) <= set(FAULTS)
    parent = os.getppid()
    server = Quiet(("127.0.0.1", int(port)), Handler)
    server.timeout = 1
    while os.getppid() == parent:
        server.handle_request()


if __name__ == "__main__":
    main(*sys.argv[1:])
