"""`convert` writes the bytes that stock TensorFlow writes from a graph with those variables."""

import numpy as np
import pytest
import tensorflow as tf

from autodist.workbench import errors
from autodist.workbench.commands.conversion import Conversion, convert
from autodist.workbench.reading import tables
from autodist.workbench.writing.casting import CastRule
from autodist.workbench.writing.layouts import PartitionRule
from autodist.workbench.writing.names import NameRules, read_name_map
from autodist.workbench.writing.stored import Limits
from autodist.workbench.writing.temporary_names import TargetInUseError
from autodist.workbench.writing.values import FLOATS
from support.python_programs import run_python
from support.workbench.stock_writer import (
    assert_same_files,
    files_of,
    save,
    save_sharded,
    slices,
    whole,
)

v1 = tf.compat.v1
RANDOM = np.random.default_rng(0)
EMB = RANDOM.normal(size=(103, 17)).astype(np.float32)
HALF = RANDOM.normal(size=(40, 6)).astype(np.float16)
TEXT = np.array([b"x" * length for length in range(11)], object)
REST = [whole("a/b", np.float64(3)), whole("e", np.zeros((0, 4), np.int32))]
LABELS = whole("lab", np.arange(12))
# Blocks far smaller than the tensors.
LIMITS = Limits(threads=2, memory_bytes=1 << 16)


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """The same variables, whole and in slices."""
    directory = tmp_path_factory.mktemp("stock")
    save(
        directory / "whole",
        [*REST, whole("emb", EMB), whole("h", HALF), LABELS, whole("s", TEXT)],
    )
    save(
        directory / "sliced",
        [
            *REST,
            *slices("emb", EMB, 0, [26, 26, 26, 25]),
            *slices("h", HALF, 1, [2, 2, 2]),
            LABELS,
            *slices("s", TEXT, 0, [4, 4, 3]),
        ],
    )
    return directory


def converted(source, target, *partitions, **options):
    rules = [PartitionRule.parse(rule) for rule in partitions]
    report = convert(
        str(source), str(target), Conversion(partitions=rules, **options), limits=LIMITS
    )
    assert report.prefix == str(target)
    return target


def test_slices_to_whole(stock, tmp_path):
    assert_same_files(converted(stock / "sliced", tmp_path / "t", "*=whole"), stock / "whole")


def test_whole_to_slices(stock, tmp_path):
    target = converted(stock / "whole", tmp_path / "t", "emb=0:4", "h=1:3", "s=0:3")
    assert_same_files(target, stock / "sliced")


@pytest.mark.parametrize("name", ["whole", "sliced"])
def test_nothing_to_convert_copies_the_bytes(stock, tmp_path, name):
    assert_same_files(converted(stock / name, tmp_path / "t"), stock / name)


def test_slices_to_a_grid(stock, tmp_path):
    expected = []
    for start, length in ((0, 50), (50, 53)):
        for column, width in ((0, 9), (9, 8)):
            part = EMB[start : start + length, column : column + width]
            expected.append(("emb", f"103 17 {start},{length}:{column},{width}", part))
    target = converted(
        stock / "sliced",
        tmp_path / "t",
        "emb=0:[50,53]x1:2",
        "*=whole",
        names=NameRules(["s", "h"]),
    )
    assert_same_files(target, save(tmp_path / "stock", [*REST, *expected, LABELS]))


def test_more_pieces_than_rows_are_as_many_as_rows(stock, tmp_path):
    value = np.arange(6, dtype=np.int8).reshape(3, 2)
    source = save(tmp_path / "source", [whole("w", value)])
    expected = save(tmp_path / "stock", slices("w", value, 0, [1, 1, 1]))
    assert_same_files(converted(source, tmp_path / "t", "w=0:5"), expected)


def test_scalars_and_tensors_without_elements_stay_whole(stock, tmp_path):
    source = save(tmp_path / "source", REST)
    assert_same_files(converted(source, tmp_path / "t", "*=1:2"), source)


def shards():
    parts = slices("emb", EMB, 0, [26, 26, 26, 25])
    return [
        [REST[0], parts[0], parts[2]],
        [REST[1], parts[1], parts[3]],
        [whole("h", HALF), LABELS, whole("s", TEXT)],
    ]


def test_many_files_to_one(stock, tmp_path):
    source = save_sharded(tmp_path / "source", shards())
    expected = [*REST, *slices("emb", EMB, 0, [26, 26, 26, 25])]
    expected += [whole("h", HALF), LABELS, whole("s", TEXT)]
    target = converted(source, tmp_path / "t", file_count=1)
    assert_same_files(target, save(tmp_path / "stock", expected))
    assert_same_files(converted(source, tmp_path / "w", "*=whole", file_count=1), stock / "whole")


def test_many_files_stay_as_they_are(tmp_path):
    source = save_sharded(tmp_path / "source", shards())
    assert_same_files(converted(source, tmp_path / "t"), source)


def test_a_file_that_becomes_empty_is_not_counted(tmp_path):
    source = save_sharded(tmp_path / "source", shards())
    target = converted(source, tmp_path / "t", names=NameRules(["e", "emb"]))
    assert_same_files(target, save_sharded(tmp_path / "stock", [shards()[0][:1], shards()[2]]))


def test_one_file_to_many_in_balance(tmp_path):
    values = [whole(f"v{i:02d}", np.full((i % 7 + 1, 3), i, np.float32)) for i in range(40)]
    source = save(tmp_path / "source", values)
    target = converted(source, tmp_path / "t", file_count=4)
    # Each goes to the file with the fewest bytes so far.
    parts, held = [[], [], [], []], [0] * 4
    for entry in values:
        number = held.index(min(held))
        parts[number].append(entry)
        held[number] += entry[2].nbytes
    assert_same_files(target, save_sharded(tmp_path / "stock", parts))
    assert max(held) - min(held) <= 84
    assert_same_files(converted(target, tmp_path / "back", file_count=1), source)


def test_names_change_and_so_does_the_order(stock, tmp_path):
    rules = NameRules(["h", "s*"], {"emb": "zz"}, [("^a/(.)", r"q/\1\1")])
    expected = [REST[1], LABELS, whole("q/bb", np.float64(3)), whole("zz", EMB)]
    target = converted(stock / "whole", tmp_path / "t", names=rules)
    assert_same_files(target, save(tmp_path / "stock", expected))


def test_another_order_than_that_of_names_stays(tmp_path):
    entries = [LABELS, REST[0], whole("z", HALF), whole("c", EMB)]
    source = save(tmp_path / "source", entries)
    assert_same_files(converted(source, tmp_path / "t"), source)


# TensorFlow's threads flush denormal numbers, and these casts do not: they are left out.
NUMBERS = np.concatenate(
    [
        RANDOM.normal(size=2000) * 10.0 ** RANDOM.integers(-33, 38, 2000),
        [np.inf, -np.inf, np.nan, 0.0, -0.0, 65504, 65520, 448, 464, 57344, 61440, 3.4e38, 2**-24],
    ]
)


@pytest.mark.parametrize("source", FLOATS)
def test_casts_are_those_of_tensorflow(source, tmp_path):
    values = tf.cast(tf.constant(NUMBERS), source)
    prefix = save(tmp_path / "source", [whole("w", values), whole("x", np.arange(3))])
    for target in FLOATS:
        rule = CastRule.parse(f"w*:{source}={target}")
        ours = converted(prefix, tmp_path / f"t-{target}", casts=[rule])
        expected = [whole("w", tf.cast(values, target)), whole("x", np.arange(3))]
        assert_same_files(ours, save(tmp_path / f"stock-{target}", expected))


def test_cast_and_cut_at_once(stock, tmp_path):
    entries = [*REST, *slices("emb", EMB.astype(np.float16), 0, [52, 51])]
    target = converted(
        stock / "sliced",
        tmp_path / "t",
        "emb=0:2",
        names=NameRules(["h", "s", "lab"]),
        casts=[CastRule.parse("float32=float16")],
    )
    assert_same_files(target, save(tmp_path / "stock", entries))


V1_DTYPES = (
    "float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "bool",
    "complex64", "complex128",
)  # fmt: skip


@pytest.mark.parametrize("is_sharded", [False, True])
def test_v1_to_v2(tmp_path, is_sharded):
    with tf.Graph().as_default(), v1.Session() as session:
        for dtype in V1_DTYPES:
            numbers = np.arange(12) - (0 if dtype[0] in "bu" else 5)
            v1.get_variable(dtype, initializer=tf.constant(numbers.astype(dtype)))
        v1.get_variable("text", initializer=tf.constant(["a", "", "b" * 300]))
        v1.get_variable("scalar", initializer=1.5)
        v1.get_variable("cut", [10, 3], partitioner=v1.fixed_size_partitioner(3))
        session.run(v1.global_variables_initializer())
        old = v1.train.Saver(write_version=v1.train.SaverDef.V1, sharded=is_sharded)
        old.save(session, str(tmp_path / "old"), write_meta_graph=False)
        new = v1.train.Saver().save(session, str(tmp_path / "new"), write_meta_graph=False)
    assert_same_files(converted(tmp_path / "old", tmp_path / "in a new directory/t"), new)


def test_an_index_of_many_blocks(tmp_path):
    names = sorted(f"layer_{i % 977}/kernel/{i}" for i in range(20_000))
    values = [tf.constant(np.float32(i)) for i in range(10)] * 2_000
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "source"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=values,
    )
    assert_same_files(converted(tmp_path / "source", tmp_path / "t"), tmp_path / "source")


def test_names_of_odd_bytes(tmp_path):
    names = [
        b"\xff",
        b"\xfe\x00",
        b"a\n\x1b",
        "Grüße".encode(),
        b"a" * 300,
        b"\x01",
        b"\xff\xff\xff",
    ]
    value = np.arange(6, dtype=np.uint8)
    entries = [(name, "", value) for name in sorted(names)]
    entries.insert(1, (b"\x01s\xff\x00", "6 0,4", value[:4]))
    entries.insert(2, (b"\x01s\xff\x00", "6 4,2", value[4:]))
    save(tmp_path / "source", entries)
    assert_same_files(converted(tmp_path / "source", tmp_path / "t"), tmp_path / "source")


def test_stock_restores_the_result(stock, tmp_path):
    target = converted(stock / "sliced", tmp_path / "t", "emb=1:3", "*=whole", file_count=2)
    reader = tf.train.load_checkpoint(str(target))
    np.testing.assert_array_equal(reader.get_tensor("emb"), EMB)
    np.testing.assert_array_equal(reader.get_tensor("h"), HALF)
    np.testing.assert_array_equal(reader.get_tensor("s"), TEXT)


def test_damage_never_travels(stock, tmp_path):
    contents = bytearray(files_of(stock / "sliced")[".data-00000-of-00001"])
    for at in (0, 3000, len(contents) - 1):
        damaged = bytearray(contents)
        damaged[at] ^= 1
        (tmp_path / "d.data-00000-of-00001").write_bytes(damaged)
        (tmp_path / "d.index").write_bytes(files_of(stock / "sliced")[".index"])
        for partition in ([], ["*=whole"]):
            with pytest.raises(errors.DamagedError, match="not those that were written"):
                converted(tmp_path / "d", tmp_path / "t", *partition)
            assert sorted(path.name for path in tmp_path.iterdir()) == [
                "d.data-00000-of-00001",
                "d.index",
            ]


def test_a_data_file_that_ends_early(stock, tmp_path):
    files = files_of(stock / "whole")
    (tmp_path / "d.data-00000-of-00001").write_bytes(files[".data-00000-of-00001"][:-1])
    (tmp_path / "d.index").write_bytes(files[".index"])
    with pytest.raises(errors.DamagedError):
        converted(tmp_path / "d", tmp_path / "t")


FAR = 1 << 61


@pytest.mark.parametrize(
    "change",
    [
        {"offset": FAR},
        {"offset": -1},
        {"size": FAR, "shape": (FAR,)},
        {"size": 3},
        {"size": -8, "shape": (1 << 62,)},
        {"file": 7},
        {"file": -1},
        {"dtype": 20},
        {"dtype": 99},
        {"dtype": 7},
        {"shape": (1 << 40, 0), "size": 1},
        {"offset": 4},
        {"slices": [((0, 3),), ((3, 5),)]},
        {"slices": [((0, 8),), ((0, 8),)]},
    ],
)
def test_indexes_that_lie(tmp_path, change):
    """No crash, no large allocation, and nothing is left."""
    names = ("dtype", "shape", "place", "slices", "file", "offset", "size", "crc")
    sound = (4, (8,), None, [], 0, 0, 8, 0)
    rows = [(b"a", *{**dict(zip(names, sound, strict=True)), **change}.values())]
    rows.append((b"b", 4, (8,), None, [], 0, 8, 8, 0))
    rows += [
        (b"a", 4, (place[0][1],), place, [], 0, 0, place[0][1], 0)
        for place in change.get("slices", [])
    ]
    (tmp_path / "d.data-00000-of-00001").write_bytes(bytes(16))
    try:
        index = tables.module().build_index(1, rows)
    except tables.module().UnsupportedError:
        return
    (tmp_path / "d.index").write_bytes(index)
    with pytest.raises((errors.DamagedError, errors.UnsupportedError)):
        converted(tmp_path / "d", tmp_path / "t", "*=whole")
    with pytest.raises((errors.DamagedError, errors.UnsupportedError)):
        converted(tmp_path / "d", tmp_path / "t", "*=0:2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.data-00000-of-00001", "d.index"]


MEMORY = """
import resource, sys
from autodist.workbench.commands.conversion import Conversion, convert
from autodist.workbench.reading import tables
from autodist.workbench.writing.casting import CastRule
from autodist.workbench.writing.layouts import PartitionRule
from autodist.workbench.writing.stored import Limits

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

import ml_dtypes, numpy
before = peak()
for number, options in enumerate(
    (
        {"partitions": [PartitionRule.parse("w=1:3")]},
        {"casts": [CastRule.parse("float32=bfloat16")]},
        {"partitions": [PartitionRule.parse("w=0:3")], "casts": [CastRule.parse("float32=float64")]},
    )
):
    convert(sys.argv[1], f"{sys.argv[1]}-{number}", Conversion(**options), limits=Limits(2, 4 << 20))
print(peak() - before)
print("tensorflow" in sys.modules or "libtensorflow" in open("/proc/self/maps").read())
"""


def test_memory_is_bounded_and_no_tensorflow_loaded(tmp_path):
    source = save(tmp_path / "m", [whole("w", np.ones((1 << 14, 1 << 10), np.float32))])
    peak_mib, has_tensorflow = run_python("-c", MEMORY, source, fresh=True).stdout.split()
    assert int(peak_mib) < 24  # of 64 MiB
    assert has_tensorflow == "False"


def test_a_checkpoint_is_not_replaced_unasked(stock, tmp_path):
    target = converted(stock / "whole", tmp_path / "t")
    with pytest.raises(TargetInUseError, match="--overwrite"):
        converted(stock / "sliced", target)
    assert_same_files(target, stock / "whole")
    convert(str(stock / "sliced"), str(target), Conversion(), overwrite=True)
    assert_same_files(target, stock / "sliced")


def test_a_checkpoint_is_converted_in_place(stock, tmp_path):
    target = converted(stock / "sliced", tmp_path / "t")
    rules = [PartitionRule.parse("*=whole")]
    convert(str(target), str(target), Conversion(partitions=rules), overwrite=True)
    assert_same_files(target, stock / "whole")


def test_a_dry_run_writes_nothing(stock, tmp_path):
    report = convert(
        str(stock / "sliced"),
        str(tmp_path / "t"),
        Conversion(names=NameRules(["h"], {"emb": "w"}), file_count=2),
        dry_run=True,
    )
    assert (report.tensors, report.slices, report.data_files) == (5, 7, 2)
    assert (report.dropped, report.renamed) == (["h"], 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": NameRules(["nothing*"])}, "--drop 'nothing\\*' matches no variable"),
        ({"names": NameRules(["*"])}, "nothing is left"),
        ({"names": NameRules((), {"x": "y"})}, "renames 'x', which is not in"),
        ({"names": NameRules((), {"emb": "lab"})}, "'emb' and 'lab' would both be named 'lab'"),
        ({"names": NameRules((), {"emb": ""})}, "would have no name"),
        ({"names": NameRules((), {"emb": "\0x"})}, "begin with 0x00"),
        ({"names": NameRules((), {}, [("(", "")])}, "no regular expression"),
        ({"names": NameRules((), {}, [("e", r"\2")])}, "the replacement"),
        ({"file_count": 30}, "6 pieces cannot be spread over 30"),
        ({"partitions": [PartitionRule.parse("x=0:2")]}, "--partition 'x' matches no variable"),
        ({"partitions": [PartitionRule.parse("emb=0:[1,2]")]}, "add up to 3, expected 103"),
        ({"casts": [CastRule.parse("bfloat16=float32")]}, "matches no variable of bfloat16"),
    ],
)
def test_rules_that_cannot_be_applied(stock, tmp_path, options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        convert(str(stock / "whole"), str(tmp_path / "t"), Conversion(**options))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    ["emb", "emb=", "=0:4", "emb=0", "emb=0:0", "emb=0:4x0:2", "emb=-1:2", "emb=0:[3,0]", "e=0:[]"],
)
def test_partition_rules_that_are_none(text):
    with pytest.raises(errors.ArgumentError):
        PartitionRule.parse(text)


@pytest.mark.parametrize(
    "text", ["", "float32", "float32=int32", "a:b", "float=float16", "w:=float32"]
)
def test_casts_that_are_none(text):
    with pytest.raises(errors.ArgumentError, match="is no cast"):
        CastRule.parse(text)


def test_names_of_a_checkpoint_of_objects_stay(tmp_path):
    prefix = tf.train.Checkpoint(w=tf.Variable(EMB)).write(str(tmp_path / "objects"))
    assert_same_files(converted(prefix, tmp_path / "t"), prefix)
    with pytest.raises(errors.ArgumentError, match="_CHECKPOINTABLE_OBJECT_GRAPH"):
        converted(prefix, tmp_path / "u", names=NameRules((), {}, [("^w", "v")]))
    rules = NameRules(["_CHECKPOINTABLE_OBJECT_GRAPH"], {}, [("/.ATTRIBUTES/VARIABLE_VALUE$", "")])
    ours = converted(prefix, tmp_path / "v", names=rules)
    assert_same_files(ours, save(tmp_path / "stock", [whole("w", EMB)]))


def test_name_maps(tmp_path):
    (tmp_path / "a.json").write_text('{"a": "b"}')
    (tmp_path / "a.yml").write_text("a: b\n")
    assert read_name_map(tmp_path / "a.json") == read_name_map(tmp_path / "a.yml") == {"a": "b"}
    for name, text in (
        ("x.json", "["),
        ("y.json", '{"a": 1}'),
        ("z.yml", "a: [b"),
        ("w.yml", "- a"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(errors.ArgumentError, match="no map of names"):
            read_name_map(tmp_path / name)


def test_slices_that_lack_rows_are_named_by_every_command(tmp_path, run):
    """Stock saves them; it fails to restore them."""
    path = save(tmp_path / "m", [("p", "6 2 0,2:-", np.ones((2, 2), np.float32)), whole("w", 1.0)])
    for arguments in (
        ("convert", path, tmp_path / "t", "--whole"),
        ("convert", path, tmp_path / "t", "--cast", "float32=float16"),
        ("export", path, tmp_path / "t.npz"),
        ("export", path, tmp_path / "t.safetensors"),
        ("average", path, path, "--output", tmp_path / "t"),
    ):
        code, out, err = run(*arguments)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "tensor 'p'" in err
        assert "rows [2, 6) are missing" in err
    assert run("export", path, tmp_path / "t.npz", "--drop", "p")[0] == 0
