import json
import random
import shutil
import tracemalloc
from pathlib import Path

import astropy.units as u
import dask
import dask.array as da
import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from killing import Forker, kill_writer

from xonoff.errors import FormatError
from xonoff.io.store import chunk_shape, open_netcdf, open_zarr, to_netcdf, to_zarr

STRING = np.dtypes.StringDType()
FORMATS = {"nc": (to_netcdf, open_netcdf), "zarr": (to_zarr, open_zarr)}
BOTH = pytest.mark.parametrize("kind", FORMATS)


def sample(energies=3, height=16, width=12, observations=2, seed=0, **attrs):
    rng = np.random.default_rng(seed)
    cube, shape = ("energy", "y", "x"), (energies, height, width)
    edges = np.geomspace(0.1, 10, energies + 1)
    starts = np.datetime64("2004-12-04T22:08:32.123456789") + np.arange(observations) * np.timedelta64(28, "m")
    acceptance = rng.random(shape)
    acceptance[rng.random(shape) > 0.9] = np.nan
    return xr.Dataset(
        {
            "counts": (cube, rng.poisson(3, shape).astype(np.float32), {"units": "1"}),
            "acceptance": (cube, acceptance, {"units": "1"}),
            "mask_safe": (cube, rng.random(shape) > 0.2),
        },
        {
            "energy": ("energy", np.sqrt(edges[1:] * edges[:-1]), {"units": "TeV", "bounds": "energy_bounds"}),
            "energy_bounds": (("energy", "bounds"), np.stack([edges[:-1], edges[1:]], axis=1)),
            "y": np.arange(height),
            "x": np.arange(width),
            "lat": (("y", "x"), rng.random((height, width)), {"units": "deg"}),
            "lon": (("y", "x"), rng.random((height, width)), {"units": "deg"}),
            "wcs": ((), 3735928559, {"header": "CTYPE1  = 'RA---TAN'" * 200}),
            "gti_start": ("gti", starts.astype("datetime64[ns]"), {"time_scale": "tt"}),
            "livetime": ("obs", rng.random(observations), {"units": "s"}),
            "obs_id": ("obs", np.arange(observations) + 23523),
            "telescop": ("obs", np.array(["HESS", "CTAO-N (früh)"] * observations, STRING)[:observations]),
        },
        {"name": "crab", "models": "[]", "Conventions": "CF-1.11", **attrs},
    )


def assert_same(found, expected):
    """Compare values, attrs, coordinates, and dtypes, which xarray does not."""
    xr.testing.assert_identical(found.load(), expected.compute())
    assert {k: v.dtype for k, v in found.variables.items()} == {k: v.dtype for k, v in expected.variables.items()}


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@st.composite
def datasets(draw):
    size = {dim: draw(st.integers(1, 4), label=dim) for dim in ("energy", "lat", "lon")}
    size["obs"] = draw(st.integers(0, 3), label="obs")
    rng = np.random.default_rng(draw(st.integers(0, 2**32), label="seed"))
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
    values = text | st.integers(-(2**63), 2**63 - 1) | st.floats()
    attrs = st.dictionaries(st.sampled_from(["name", "note", "level", "units_of_old"]), values)

    def variable(dims, dtype):
        shape = tuple(size[dim] for dim in dims)
        if dtype == "string":
            return dims, np.array(draw(st.lists(text, min_size=shape[0], max_size=shape[0])), STRING), draw(attrs)
        data = rng.integers(2**61, size=shape)
        if dtype == "bool":
            return dims, data % 2 == 0, draw(attrs)
        if dtype.startswith("float"):
            return dims, np.where(data % 5 == 0, np.nan, rng.normal(size=shape)).astype(dtype), draw(attrs)
        return dims, data.astype(dtype), draw(attrs)

    numbers = st.sampled_from(
        ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint64", "float32", "float64"]
    )
    cube, some = ("energy", "lat", "lon"), st.lists(st.sampled_from(["energy", "lat", "lon"]), unique=True).map(tuple)
    ds = xr.Dataset(
        {
            "counts": variable(cube, draw(numbers)),
            "exposure": variable(draw(some), draw(numbers)),
        },
        {
            "energy": ("energy", np.geomspace(0.1, 10, size["energy"]), {"units": "TeV"}),
            "lat": np.linspace(-1, 1, size["lat"]),
            "wcs": ((), int(rng.integers(2**31)), draw(attrs)),
            "obs_id": variable(("obs",), "int64"),
            "gti_start": variable(("obs",), "datetime64[ns]"),
            "telescop": variable(("obs",), "string"),
        },
        draw(attrs),
    )
    chunks = {dim: draw(st.integers(2, 4)) for dim in ("energy", "lat", "lon")}
    return ds.chunk(chunks) if draw(st.booleans(), label="dask") else ds


class TestRoundTrip:
    @settings(max_examples=18, deadline=None, suppress_health_check=list(HealthCheck))
    @given(datasets())
    @pytest.mark.parametrize("kind", FORMATS)
    def test_ours(self, tmp_path_factory, kind, ds):
        write, read = FORMATS[kind]
        path = tmp_path_factory.mktemp("ours") / f"a.{kind}"
        write(ds, path)
        assert_same(read(path), ds)
        plain = xr.open_dataset(path, engine="netcdf4") if kind == "nc" else xr.open_zarr(path, consolidated=False)
        xr.testing.assert_identical(plain.load(), ds.compute())
        assert names(path.parent) == [f"a.{kind}"]

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(datasets())
    @pytest.mark.parametrize("kind", FORMATS)
    def test_plain(self, tmp_path_factory, kind, ds):
        path = tmp_path_factory.mktemp("plain") / f"a.{kind}"
        if kind == "nc":
            ds.to_netcdf(path, engine="netcdf4")
        else:
            ds.to_zarr(path, zarr_format=3, consolidated=False)
        assert_same(FORMATS[kind][1](path), ds)

    @BOTH
    @pytest.mark.parametrize("chunks", [None, {}, {"y": 8}])
    def test_sample(self, tmp_path, kind, chunks):
        write, read = FORMATS[kind]
        write(sample().chunk(y=4), tmp_path / "a")
        assert_same(read(tmp_path / "a", chunks=chunks), sample())

    @BOTH
    def test_strings_of_any_dtype_become_one(self, tmp_path, kind):
        write, read = FORMATS[kind]
        for dtype in (object, "U", STRING):
            ds = xr.Dataset({"region": ((), np.array("circle", dtype))}, {"obs": np.array(["a", "bé", ""], dtype)})
            write(ds, tmp_path / "a", overwrite=True)
            found = read(tmp_path / "a")
            assert found.identical(ds)
            assert found.region.dtype == found.obs.dtype == STRING

    @BOTH
    def test_long_attributes(self, tmp_path, kind):
        write, read = FORMATS[kind]
        ds = sample(models="x" * 300_000, note="é" * 300_000)
        write(ds, tmp_path / "a")
        assert_same(read(tmp_path / "a"), ds)

    @BOTH
    def test_nothing_to_store(self, tmp_path, kind):
        write, read = FORMATS[kind]
        write(xr.Dataset(), tmp_path / "a")
        assert_same(read(tmp_path / "a"), xr.Dataset())

    @BOTH
    def test_big_endian_becomes_native(self, tmp_path, kind):
        write, read = FORMATS[kind]
        write(xr.Dataset({"a": ("x", np.arange(3, dtype=">f4"))}), tmp_path / "a")
        assert_same(read(tmp_path / "a"), xr.Dataset({"a": ("x", np.arange(3, dtype=np.float32))}))

    @BOTH
    def test_encoding_of_a_file_does_not_follow_its_slices(self, tmp_path, kind):
        """Datasets opened by us, and by plain xarray, are sliced and written again, by us and by plain xarray."""
        write, read = FORMATS[kind]
        write(sample().chunk(y=5, x=4), tmp_path / "a")
        expected = sample().isel(y=slice(1, None, 2), x=slice(2, 9))
        options = {} if kind == "nc" else {"consolidated": False}
        plain = xr.open_dataset(tmp_path / "a", engine={"nc": "netcdf4", "zarr": "zarr"}[kind], chunks={}, **options)
        for source in (read(tmp_path / "a", chunks={}), read(tmp_path / "a"), plain):
            part = source.isel(y=slice(1, None, 2), x=slice(2, 9))
            write(part, tmp_path / "b", overwrite=True)
            assert_same(read(tmp_path / "b"), expected)
        part = read(tmp_path / "a", chunks={}).isel(y=slice(1, None, 2), x=slice(2, 9)).chunk(y=3)
        part.to_netcdf(tmp_path / "b.nc", engine="netcdf4")
        assert_same(open_netcdf(tmp_path / "b.nc"), expected)
        part.chunk(x=-1).to_zarr(tmp_path / "b.zarr", zarr_format=3, consolidated=False)
        assert_same(open_zarr(tmp_path / "b.zarr"), expected)

    @BOTH
    def test_over_the_file_it_was_opened_from(self, tmp_path, kind):
        write, read = FORMATS[kind]
        write(sample(), tmp_path / "a")
        write(read(tmp_path / "a", chunks={}).isel(y=slice(3, 9)), tmp_path / "a", overwrite=True)
        assert_same(read(tmp_path / "a"), sample().isel(y=slice(3, 9)))


class TestLayout:
    def test_chunk_shape(self):
        assert chunk_shape((), 8) == ()
        assert chunk_shape((0, 3), 8) == (1, 3)
        assert chunk_shape((30, 100, 100), 8) == (30, 100, 100)
        for shape in [(30, 2000, 2000), (5000, 5000), (10**8,), (3, 40, 4001, 4003)]:
            chunk = chunk_shape(shape, 4)
            assert 4 * 2**20 <= np.prod(chunk) * 4 <= 16 * 2**20
            assert all(0 < c <= n for c, n in zip(chunk, shape, strict=True))

    @BOTH
    def test_dask_blocks_become_chunks(self, tmp_path, kind):
        write, read = FORMATS[kind]
        uneven = sample().chunk(energy=1, y=5, x=(4, 5, 3))
        write(uneven, tmp_path / "a")
        assert read(tmp_path / "a", chunks={}).counts.chunks == ((1, 1, 1), (5, 5, 5, 1), (5, 5, 2))

    def test_huge_dask_blocks_are_split(self, tmp_path):
        counts = da.zeros((17 * 2**20,), np.float32, chunks=-1)
        to_zarr(xr.Dataset({"counts": ("x", counts)}), tmp_path / "a")
        assert open_zarr(tmp_path / "a", chunks={}).counts.data.chunksize[0] * 4 <= 16 * 2**20

    def test_every_value_has_a_checksum(self, tmp_path):
        to_netcdf(sample(), tmp_path / "a.nc")
        with netCDF4.Dataset(tmp_path / "a.nc") as file:
            for name, variable in file.variables.items():
                assert name in ("wcs", "telescop") or variable.filters()["fletcher32"], name
        to_zarr(sample(), tmp_path / "a.zarr")
        for file in (tmp_path / "a.zarr").glob("*/zarr.json"):
            assert file.parent.name == "xonoff_manifest" or '"crc32c"' in file.read_text(), file

    def test_empty_chunks_are_stored(self, tmp_path):
        to_zarr(xr.Dataset({"a": ("x", np.zeros(10))}).chunk(x=5), tmp_path / "a")
        assert names(tmp_path / "a" / "a" / "c") == ["0", "1"]

    @BOTH
    def test_laziness(self, tmp_path, kind):
        write, read = FORMATS[kind]
        write(sample().chunk(y=5), tmp_path / "a")

        def refuse(*arguments, **options):
            raise AssertionError("computed")

        with dask.config.set(scheduler=refuse):
            ds = read(tmp_path / "a", chunks={})
            assert dask.is_dask_collection(ds.counts.data)
            with pytest.raises(AssertionError, match="computed"):
                ds.counts.load()

    @BOTH
    def test_out_of_core(self, tmp_path, kind):
        write, _ = FORMATS[kind]
        cube = da.zeros((50, 1000, 1000), np.float32, chunks=(5, 500, 500))  # 200 MB in blocks of 5 MB
        write(sample(), tmp_path / "warm")
        tracemalloc.start()
        try:
            with dask.config.set(scheduler="synchronous"):
                write(xr.Dataset({"counts": (("energy", "y", "x"), cube + 1)}), tmp_path / "a")
            assert tracemalloc.get_traced_memory()[1] < 50e6
        finally:
            tracemalloc.stop()


class TestRefusal:
    @BOTH
    def test_existing_target(self, tmp_path, kind):
        write, read = FORMATS[kind]
        write(sample(), tmp_path / "a")
        with pytest.raises(FileExistsError, match="/a exists; pass overwrite=True"):
            write(sample(seed=1), tmp_path / "a")
        assert_same(read(tmp_path / "a"), sample())
        write(sample(seed=1), tmp_path / "a", overwrite=True)
        assert_same(read(tmp_path / "a"), sample(seed=1))

    @BOTH
    @pytest.mark.parametrize(
        ("variable", "message"),
        [
            (("n", np.ones(3) * u.TeV), r"'bad' holds a astropy.units.quantity.Quantity.*attrs\['units'\]"),
            (("n", np.array([1, "a", None], object)), "'bad' holds Python objects"),
            (("n", np.array(["a\0b", "c", "d"], STRING)), "'bad' holds Python objects.*without NUL"),
            (("n", np.ones(3, complex)), "'bad' has dtype complex128; bool, int8"),
            (("n", np.ones(3, np.float16)), "'bad' has dtype float16"),
            (("n", np.ones(3), {"flag": True}), "attribute 'flag' of variable 'bad' is True"),
            (("n", np.ones(3), {"tree": {"a": 1}}), "attribute 'tree' of variable 'bad' is {'a': 1}"),
            (("n", np.ones(3), {"units": "days since 2000-01-01"}), "not written: variable 'bad', float64"),
        ],
    )
    def test_what_cannot_be_stored(self, tmp_path, kind, variable, message):
        write, read = FORMATS[kind]
        write(sample(), tmp_path / "a")
        with pytest.raises(FormatError, match=message):
            write(sample().assign(bad=variable), tmp_path / "a", overwrite=True)
        assert_same(read(tmp_path / "a"), sample())
        assert names(tmp_path) == ["a"]

    def test_attribute_that_netcdf_would_change(self, tmp_path):
        for value in ("a\0b", [1]):
            with pytest.raises(FormatError, match=r"attribute 'note' of the dataset.*would read back as"):
                to_netcdf(sample(note=value), tmp_path / "a")
        assert names(tmp_path) == []

    @BOTH
    @pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", 1])
    def test_names(self, tmp_path, kind, name):
        with pytest.raises(FormatError, match=r"name .* cannot be stored"):
            FORMATS[kind][0](sample().assign({name: ((), 1.0)}), tmp_path / "a")
        assert names(tmp_path) == []

    @BOTH
    def test_not_a_path(self, kind):
        message = {"nc": "expected the path", "zarr": "a dict found; a path, a URL, an obstore store"}[kind]
        for function in (lambda path: FORMATS[kind][0](sample(), path), FORMATS[kind][1]):
            with pytest.raises(TypeError, match=message):
                function({})

    def test_netcdf_under_a_url(self):
        for function in (lambda path: to_netcdf(sample(), path), open_netcdf):
            with pytest.raises(FormatError, match="s3://bucket/a: a netCDF file is read and written on a local path"):
                function("s3://bucket/a")

    @BOTH
    def test_missing_file(self, tmp_path, kind):
        with pytest.raises(FileNotFoundError, match="a does not exist"):
            FORMATS[kind][1](tmp_path / "a")

    @BOTH
    def test_not_the_format(self, tmp_path, kind):
        (tmp_path / "text").write_text("hello " * 100)
        (tmp_path / "empty").touch()
        (tmp_path / "folder").mkdir()
        for name in names(tmp_path):
            with pytest.raises(FormatError, match=rf"/{name}: damaged, or not a (netCDF file|Zarr store)"):
                FORMATS[kind][1](tmp_path / name)

    @BOTH
    @pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
    def test_failure_in_the_middle(self, tmp_path, kind, scheduler):
        write, read = FORMATS[kind]
        write(sample(), tmp_path / "a")

        def breaking(block, block_info):
            if block_info[0]["array-location"][1][0] == 8:
                raise RuntimeError("broken block")
            return block + 1

        bad = sample().chunk(y=1)
        bad["counts"] = bad.counts.copy(data=bad.counts.data.map_blocks(breaking, dtype=np.float32))
        with dask.config.set(scheduler=scheduler), pytest.raises(RuntimeError, match="broken block"):
            write(bad, tmp_path / "a", overwrite=True)
        assert_same(read(tmp_path / "a"), sample())
        assert names(tmp_path) == ["a"]


@pytest.fixture(scope="module")
def forker():
    with Forker(__name__) as forker:
        yield forker


def small_sample(version):
    return sample(seed=version)[["counts", "telescop"]].drop_vars(["lat", "lon"]).chunk(y=8)


def write_version(path, version):
    """Write in a child that may be killed."""
    FORMATS[Path(path).suffix[1:]][0](small_sample(int(version)), path, overwrite=True)


@BOTH
def test_killed_writer(tmp_path, kind, forker):
    _, read = FORMATS[kind]
    path = tmp_path / f"a.{kind}"
    current, killed = 0, 0
    for version, was_killed in kill_writer(forker, "write_version", path, range(31)):
        killed += was_killed
        with read(path) as ds:  # not FileNotFoundError: the name is never missing
            found = ds.load()
        if found.identical(small_sample(version)):
            current = version
        assert_same(found, small_sample(current))
        assert was_killed or current == version
    assert killed > 0
    write_version(path, 31)
    assert names(tmp_path) == [path.name]


def flip_bits(path, number, seed):
    """Flip one bit after the other; run in a child, as a damaged HDF5 file may crash or hang the process."""
    path, rng = Path(path), random.Random(int(seed))
    read = FORMATS[path.suffix[1:]][1]
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    with read(path) as ds:
        good = ds.load()
    errors = 0
    for _ in range(int(number)):
        file = rng.choices(files, [file.stat().st_size for file in files])[0]
        whole = file.read_bytes()
        bit = rng.randrange(len(whole) * 8)
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.unlink()  # a new inode: HDF5 shares what it has in memory between handles of one
        file.write_bytes(damaged)
        try:
            with read(path) as ds:
                assert_same(ds, good)
        except AssertionError as error:
            raise AssertionError(f"bit {bit} of {file} changed the data silently") from error
        except Exception:
            errors += 1
        file.write_bytes(whole)
    assert errors > int(number) / 2


@BOTH
@pytest.mark.parametrize("size", [16, 160])
def test_flipped_bits(tmp_path, kind, size, forker):
    path = tmp_path / f"a.{kind}"
    ds = sample(height=size, width=size).drop_vars(["acceptance", "lat", "lon"])
    FORMATS[kind][0](ds.chunk(y=size // 2), path)
    assert forker.call("flip_bits", path, 100, size) == 0


class TestDamage:
    def test_netcdf_chunk_index(self, tmp_path):
        """Without a manifest HDF5 reads its fill value for a chunk that its index has lost."""
        path = tmp_path / "a.nc"
        to_netcdf(xr.Dataset({"a": ("x", np.ones(4000))}).chunk(x=1000), path)
        data = bytearray(path.read_bytes())
        entries_used = data.index(b"TREE\1") + 6
        assert data[entries_used] == 4
        data[entries_used] = 2
        path.write_bytes(data)
        with pytest.raises(FormatError, match=r"a.nc: damaged.*HDF5 structure does not match"):
            open_netcdf(path)
        lost = xr.load_dataset(path, engine="netcdf4").a
        assert (lost == 1).sum() == 2000

    def test_netcdf_truncated(self, tmp_path):
        path = tmp_path / "a.nc"
        to_netcdf(sample(), path)
        data = path.read_bytes()
        for size in (0, 10, 1000, len(data) // 2, data.rindex(b'{"size"') - 1):
            (tmp_path / f"{size}.nc").write_bytes(data[:size])
            with pytest.raises(FormatError, match=f"{size}.nc: damaged"):
                open_netcdf(tmp_path / f"{size}.nc")
        path.write_bytes(data[:1000] + data[2000:])
        with pytest.raises(FormatError, match="bytes of data instead of"):
            open_netcdf(path)

    def test_netcdf_edited_by_others_opens(self, tmp_path):
        to_netcdf(sample(), tmp_path / "a.nc")
        with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
            file.history = "edited"
        assert_same(open_netcdf(tmp_path / "a.nc"), sample(history="edited"))

    def test_zarr_missing_chunk(self, tmp_path):
        """Without a manifest zarr reads its fill value there."""
        path = tmp_path / "a.zarr"
        to_zarr(sample().chunk(y=8), path)
        (path / "counts" / "c" / "0" / "1" / "0").rename(path / "counts" / "c" / "0" / "1" / "7")
        with pytest.raises(FormatError, match=r"a.zarr: damaged.*array 'counts' has 1 of its 2 chunks"):
            open_zarr(path)
        lost = xr.open_zarr(path, consolidated=False).counts[:, 8:].values
        assert np.array_equal(lost, np.full(lost.shape, lost[0, 0, 0]), equal_nan=True)

    def test_zarr_declared_size(self, tmp_path):
        """A store that declares far more than it holds is refused before anything is allocated."""
        path = tmp_path / "a.zarr"
        to_zarr(sample(), path)
        metadata = json.loads((path / "counts" / "zarr.json").read_text())
        metadata["shape"][0] = 10**13
        (path / "counts" / "zarr.json").write_text(json.dumps(metadata))
        with pytest.raises(FormatError, match=r"counts/zarr.json does not match its checksum"):
            open_zarr(path)

    @pytest.mark.parametrize("victim", ["zarr.json", "counts", "counts/zarr.json", "wcs/c"])
    def test_zarr_lost_part(self, tmp_path, victim):
        path = tmp_path / "a.zarr"
        to_zarr(sample(), path)
        lost = path / victim
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
        with pytest.raises(FormatError, match=r"a.zarr: damaged"):
            open_zarr(path)

    def test_zarr_array_added_by_others(self, tmp_path):
        path = tmp_path / "a.zarr"
        to_zarr(sample(), path)
        xr.Dataset({"extra": ("x", np.ones(12))}).to_zarr(path, mode="a", consolidated=False)
        with pytest.raises(FormatError, match=r"\['extra'\] are missing, or were added by another writer"):
            open_zarr(path)

    def test_manifest_does_not_travel(self, tmp_path):
        to_zarr(sample(), tmp_path / "a")
        copy = xr.open_zarr(tmp_path / "a", consolidated=False).isel(y=slice(3)).drop_encoding()
        copy.to_zarr(tmp_path / "b", zarr_format=3, consolidated=False)
        assert_same(open_zarr(tmp_path / "b"), sample().isel(y=slice(3)))
