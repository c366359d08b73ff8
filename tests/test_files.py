"""`nd.save` and `nd.load`: MXNet's `.params` files byte by byte, and what is wrong with damaged ones."""

import os
import struct

import numpy as np
import pytest

import oxgrad as mx
from oxgrad import MXNetError, nd

DTYPES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6, "bool": 7}
V2 = 0xF993FAC9


def record(array, ctx=(1, 0)):
    """One dense array as MXNet 1.9.1 writes it."""
    a = np.asarray(array)
    head = struct.pack(f"<Iii{a.ndim}q", V2, 0, a.ndim, *a.shape)
    return head + struct.pack("<iii", *ctx, DTYPES[a.dtype.name]) + a.tobytes()


def file(records, names=()):
    body = struct.pack("<QQQ", 0x112, 0, len(records)) + b"".join(records) + struct.pack("<Q", len(names))
    return body + b"".join(struct.pack("<Q", len(n.encode())) + n.encode() for n in names)


MATRIX = np.array([[1, 2, 3], [4, 5, 6]], "float32")
SMALL = bytes.fromhex(
    "1201000000000000 0000000000000000 0200000000000000"
    "c9fa93f9 00000000 02000000 0200000000000000 0300000000000000 01000000 00000000 00000000"
    "0000803f 00000040 00004040 00008040 0000a040 0000c040"
    "c9fa93f9 00000000 01000000 0100000000000000 01000000 00000000 06000000 0700000000000000"
    "0000000000000000"
)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "a.params")


def written(path):
    with open(path, "rb") as stream:
        return stream.read()


def write(path, content):
    with open(path, "wb") as stream:
        stream.write(content)


def test_exact_bytes(path):
    nd.save(path, [nd.array(MATRIX), nd.array([7], dtype="int64")])
    assert written(path) == SMALL == file([record(MATRIX), record(np.array([7]))])
    nd.save(path, {"w": nd.array(MATRIX), "arg:β": nd.array(MATRIX, ctx=mx.cpu(2))})
    assert written(path) == file([record(MATRIX), record(MATRIX, (1, 2))], ["w", "arg:β"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (1, 1), (0, 3), (2, 0), (5000,)])
def test_round_trip(path, dtype, shape):
    a = np.random.default_rng(0).uniform(-100, 100, shape).astype(dtype)
    nd.save(path, nd.array(a, dtype=dtype, ctx=mx.cpu(1)))
    (x,) = nd.load(path)
    assert x.dtype is a.dtype.type and x.shape == shape and x.ctx == mx.cpu(0)
    assert np.array_equal(x.asnumpy(), a)
    assert written(path) == file([record(a, (1, 1))])


def test_special_values(path):
    a = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3e38], "float32")
    nd.save(path, nd.from_numpy(a.copy()))
    assert nd.load(path)[0].asnumpy().tobytes() == a.tobytes()


def test_views_and_pending_work_are_saved_as_values(path):
    x = nd.arange(12).reshape((3, 4))
    nd.save(path, [x.T, x[1], x[:, 1:3], x * 2 + 1, nd.broadcast_to(nd.ones((1, 2)), (2, 2))])
    a = np.arange(12.0).reshape(3, 4)
    for found, expected in zip(nd.load(path), [a.T, a[1], a[:, 1:3], a * 2 + 1, np.ones((2, 2))], strict=True):
        assert np.array_equal(found.asnumpy(), expected)


def test_names(path):
    named = {"b": nd.ones(1), "a": nd.zeros(2), "": nd.ones(3), "aux:ü 日本": nd.zeros(1)}
    nd.save(path, named)
    found = nd.load(path)
    assert list(found) == list(named)
    assert all(np.array_equal(found[k].asnumpy(), v.asnumpy()) for k, v in named.items())
    nd.save(path, {})
    assert nd.load(path) == []
    nd.save(path, [])
    assert nd.load(path) == []
    write(path, file([record(np.zeros(1)), record(np.ones(1))], ["w", "w"]))
    assert nd.load(path)["w"].asscalar() == 1


def test_load_frombuffer():
    for buffer in (SMALL, bytearray(SMALL), memoryview(SMALL), SMALL + b"trailing"):
        first, second = nd.load_frombuffer(buffer)
        assert np.array_equal(first.asnumpy(), MATRIX) and second.asnumpy().tolist() == [7]
    with pytest.raises(TypeError):
        nd.load_frombuffer("text")


def test_older_records():
    data = MATRIX.tobytes()
    v1 = struct.pack("<Ii2qiii", 0xF993FAC8, 2, 2, 3, 1, 0, 0) + data
    v0 = struct.pack("<I2Iiii", 2, 2, 3, 1, 0, 0) + data
    from_gpu = record(MATRIX, (2, 1))
    for found in nd.load_frombuffer(file([v1, v0, from_gpu, record(MATRIX, (77, 5))])):
        assert np.array_equal(found.asnumpy(), MATRIX) and found.ctx == mx.cpu(0)


def test_every_truncation_is_refused():
    whole = file([record(MATRIX), record(np.array([7]))], ["first", "b"])
    assert list(nd.load_frombuffer(whole)) == ["first", "b"]
    for n in range(len(whole)):
        with pytest.raises(MXNetError):
            nd.load_frombuffer(whole[:n])


def patched(offset, content):
    whole = bytearray(file([record(MATRIX)], ["w"]))
    whole[offset : offset + len(content)] = content
    return bytes(whole)


DAMAGED = {
    "header": patched(0, b"\x13"),
    "count": patched(16, struct.pack("<Q", 2**40)),
    "greatest count": patched(16, struct.pack("<Q", 2**64 - 1)),
    "magic": patched(24, b"\xff\xff"),
    "storage type": patched(28, struct.pack("<i", 9)),
    "ndim": patched(32, struct.pack("<i", 2**30)),
    "negative ndim": patched(32, struct.pack("<i", -1)),
    "negative dim": patched(36, struct.pack("<q", -5)),
    "huge dim": patched(36, struct.pack("<q", 2**62)),
    "dims whose product wraps": patched(36, struct.pack("<qq", 2**32, 2**32)),
    "dtype": patched(60, struct.pack("<i", 99)),
    "names count": patched(88, struct.pack("<Q", 2)),
    "name length": patched(96, struct.pack("<Q", 2**63)),
    "name": patched(104, b"\xff"),
    "empty": b"",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_files(path, content):
    write(path, content)
    with pytest.raises((MXNetError, MemoryError)):
        nd.load(path)
    assert nd.ones(3).sum().asscalar() == 3


def test_one_flipped_byte_never_crashes():
    whole = bytearray(file([record(MATRIX), record(np.array([7]))], ["first", "b"]))
    for i in range(len(whole)):
        for value in (0, 0x7F, 0xFF):
            changed = bytes(whole[:i]) + bytes([value]) + bytes(whole[i + 1 :])
            try:
                nd.load_frombuffer(changed)
            except (MXNetError, MemoryError):
                pass


def test_failed_save_leaves_the_old_file(path, tmp_path):
    nd.save(path, nd.ones(3))
    before = written(path)
    for data, error in (([nd.ones(1), 5], TypeError), ({1: nd.ones(1)}, TypeError), ((nd.ones(1),), ValueError)):
        with pytest.raises(error):
            nd.save(path, data)
    assert written(path) == before and os.listdir(tmp_path) == ["a.params"]


def test_failed_rename_leaves_no_litter(tmp_path):
    target = tmp_path / "dir"
    target.mkdir()
    with pytest.raises(MXNetError):
        nd.save(str(target), nd.ones(3))  # a directory cannot be replaced by a file
    assert os.listdir(tmp_path) == ["dir"]


def test_saving_over_a_file_that_is_being_read(path):
    nd.save(path, nd.ones(3))
    with open(path, "rb") as old:
        nd.save(path, nd.zeros(5))
        assert len(old.read()) == len(file([record(np.ones(3, "float32"))]))
    assert nd.load(path)[0].shape == (5,)


def test_paths(path, tmp_path):
    for act in (lambda: nd.load(str(tmp_path / "none")), lambda: nd.save(str(tmp_path / "no" / "a"), nd.ones(1))):
        with pytest.raises(MXNetError, match="No such file"):
            act()
    with pytest.raises(TypeError):
        nd.load(5)
    with pytest.raises(AttributeError):
        nd.save(5, nd.ones(1))
    name = str(tmp_path / "ü 日本.params")
    nd.save(name, nd.ones(1))
    assert nd.load(name)[0].asscalar() == 1
