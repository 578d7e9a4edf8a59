"""The command ``xonoff``: look at a file, convert it, plot it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import xonoff
from xonoff import summary

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 for input that is refused, 2 for wrong usage.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xonoff.tutorial.dataset().onoff.to_fits(f"{folder}/crab.fits")
    ...     main(["convert", f"{folder}/crab.fits", f"{folder}/crab.zarr"])
    0
    """
    options = _parser().parse_args(argv)
    try:
        options.run(options)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, ImportError) as error:  # XonoffError is a ValueError
        print(f"xonoff: {str(error).replace('overwrite=True', '--overwrite')}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xonoff", description="On/off counts data of gamma-ray astronomy.")
    parser.add_argument("--version", action="version", version=f"xonoff {xonoff.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    info = commands.add_parser("info", help="print axes, totals and invalid bins of a file")
    info.set_defaults(run=_info)
    convert = commands.add_parser("convert", help="write a file as FITS, netCDF or Zarr, by the suffix of OUT")
    convert.set_defaults(run=_convert)
    plot = commands.add_parser("plot", help="draw counts, excess, significance and spectrum of a file")
    plot.set_defaults(run=_plot)
    for command in (info, convert, plot):
        command.add_argument(
            "file", metavar="FILE" if command is not convert else "IN", help=".fits, .fits.gz, .nc or .zarr"
        )
        command.add_argument("--checksum", action="store_true", help="check the checksums of a FITS file first")
    convert.add_argument("out", metavar="OUT", help=".fits, .nc or .zarr")
    convert.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    plot.add_argument("-o", "--output", required=True, metavar="PNG", help="figure to write")
    return parser


def _info(options: argparse.Namespace) -> None:
    print(summary.text(xonoff.open_dataset(options.file, chunks={}, checksum=options.checksum)))


def _convert(options: argparse.Namespace) -> None:
    suffix = Path(options.out).suffix
    if suffix not in (".fits", ".nc", ".zarr"):
        raise xonoff.FormatError(f"{options.out}: suffix {suffix!r} found, .fits, .nc or .zarr accepted")
    ds = xonoff.open_dataset(options.file, chunks={}, checksum=options.checksum)
    writer = {".fits": ds.onoff.to_fits, ".nc": ds.onoff.to_netcdf, ".zarr": ds.onoff.to_zarr}[suffix]
    writer(options.out, overwrite=options.overwrite)


def _plot(options: argparse.Namespace) -> None:
    import matplotlib as mpl

    if not Path(options.output).suffix:
        raise xonoff.FormatError(f"{options.output}: no suffix found, the name of a figure such as crab.png accepted")
    mpl.use("Agg")
    ds = xonoff.open_dataset(options.file, checksum=options.checksum)
    ds.onoff.peek().savefig(options.output, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
