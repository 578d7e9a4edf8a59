"""From a path, a URL or a store of obstore or fsspec to `xonoff.io.objects.Objects`.

=======================  ==================================  ================================================
given                    opened by                           create
=======================  ==================================  ================================================
path, ``file://``        the file system                     hard link or rename to a free name
``s3 gs az`` ... URL     obstore (extra ``cloud``)           conditional put (``If-None-Match: *``)
any other URL            fsspec                              as the file system has it; see `FileSystem`
=======================  ==================================  ================================================

Requests to a bucket time out and are repeated, see `CLIENT` and `RETRY`. Messages never hold options or what stands
before an ``@`` in a URL.
"""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from xonoff.errors import FormatError
from xonoff.io.folder import Folder
from xonoff.io.objects import Objects
from xonoff.io.remote import Bucket, FileSystem

__all__ = ["open_objects"]

#: Schemes of URLs that obstore opens.
BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "azure", "adl", "abfs", "abfss")
#: Options of the HTTP client of a bucket, unless the caller gives others.
CLIENT = {"connect_timeout": "10s", "timeout": "120s"}
#: Repeats of a request that failed for a reason that may pass: status 5xx, a reset connection, a timeout.
RETRY: dict[str, Any] = {
    "max_retries": 6,
    "retry_timeout": timedelta(minutes=3),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=10), "base": 2},
}


def open_objects(target: Any, storage_options: Mapping[str, Any] | None = None) -> Objects:
    """Open a store of objects.

    Parameters
    ----------
    target : path, URL, obstore store or fsspec mapper
        A local path need not exist. A store of obstore carries its prefix.
    storage_options : dict, optional
        Of a URL: the options of `obstore.store.from_url` for buckets, ``{"endpoint": ..., "region": ...}`` for example,
        those of the file system for others. What is left out is read from the environment, as obstore and fsspec do.

    Raises
    ------
    FormatError
        If the URL is of no known kind; ImportError if its package is missing.

    Examples
    --------
    >>> import tempfile
    >>> store = open_objects(tempfile.mkdtemp())
    >>> store.create("index/a.json", b"first"), store.create("index/a.json", b"second")
    (True, False)
    >>> store.get("index/a.json"), list(store.find("index"))
    (b'first', ['index/a.json'])
    """
    if isinstance(target, Objects):
        return target
    if type(target).__module__.startswith("obstore"):
        return Bucket(target, _plain(repr(target)))
    if hasattr(target, "fs") and hasattr(target, "root"):  # fsspec.FSMap
        return FileSystem(target.fs, str(target.root), _plain(f"{_protocol(target.fs)}://{target.root}"))
    if not isinstance(target, str | os.PathLike):
        raise TypeError(
            f"a {type(target).__name__} found; a path, a URL, an obstore store or an fsspec mapper accepted"
        )
    url = os.fspath(target)
    if "://" not in url:
        return Folder(url)
    scheme, name = url.partition("://")[0].lower(), _plain(url)
    if "::" in scheme:
        raise FormatError(f"{name}: a chain of file systems found: give fsspec.get_mapper(...) instead")
    if scheme in ("file", "local"):
        return Folder(url.partition("://")[2])
    try:
        if scheme in BUCKETS:
            return _bucket(url, name, dict(storage_options or {}))
        return _file_system(url, name, dict(storage_options or {}))
    except ImportError as error:
        raise ImportError(
            f"{name}: a package is needed for {scheme}:// ({error}): pip install 'xonoff[cloud]'", name=error.name
        ) from error


def _bucket(url: str, name: str, options: dict[str, Any]) -> "Bucket":
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    client = CLIENT | options.pop("client_options", {})
    retry = options.pop("retry_config", RETRY)
    if str(options.get("endpoint", os.environ.get("AWS_ENDPOINT_URL", ""))).startswith("http://"):
        client.setdefault("allow_http", True)
    try:
        store = from_url(url.replace("gcs://", "gs://", 1), client_options=client, retry_config=retry, **options)
    except (BaseError, TypeError, ValueError) as error:
        reason, given = str(error).split("\n")[0], sorted(options)
        secret = [url, *re.findall(r"[^:@/]+(?=[:@])", url), *map(str, options.values())]
        reason = "" if any(value and value in reason for value in secret) else f"{reason}: "
        raise FormatError(f"{name}: cannot be opened: {reason}check the URL and the storage_options {given}") from None
    return Bucket(store, name)


def _file_system(url: str, name: str, options: dict[str, Any]) -> "FileSystem":
    from fsspec.core import url_to_fs

    try:
        fs, root = url_to_fs(url, **options)
    except ValueError as error:
        raise FormatError(f"{name}: {error}: give a path, or a URL such as s3://bucket/folder") from error
    return FileSystem(fs, str(root), name)


def _plain(url: str) -> str:
    """URL without user, password and query."""
    return re.sub(r"[?#].*", "", re.sub(r"(?<=://)[^/]*@", "", url)).rstrip("/")


def _protocol(fs: Any) -> str:
    return str(fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0])
