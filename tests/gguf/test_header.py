import struct
import time
from pathlib import Path

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.errors import GgufError
from optimizer.gguf import ModelFile, ValueType, encode_pair, read_header, string_pair, uint32_pair
from optimizer.gguf.header import parse_header
from optimizer.gguf.write import NewTensor, header_bytes, write_gguf
from tests.models import MERGES, header_only, tiny_model, vocabulary


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("header"), "qwen3moe", n_layer=2)


def test_agrees_with_the_gguf_package(model: Path) -> None:
    header, other = read_header(model), gguf.GGUFReader(model)
    assert [(t.name, t.shape, t.tensor_type, t.offset, t.n_bytes) for t in header.tensors] == [
        (t.name, tuple(int(n) for n in t.shape), t.tensor_type.name, t.data_offset, t.n_bytes) for t in other.tensors
    ]
    keys = [key for key in other.fields if not key.startswith("GGUF.")]
    assert list(header.metadata) == keys
    for key in keys:
        value = header.metadata[key]
        assert (list(value) if isinstance(value, tuple) else value) == pytest.approx(other.fields[key].contents())
    assert header.data_offset == other.data_offset
    assert header.required_bytes <= header.size_bytes == model.stat().st_size


def test_strings_and_numbers_of_the_metadata(model: Path) -> None:
    metadata = read_header(model).metadata
    assert metadata["tokenizer.ggml.tokens"] == tuple(vocabulary())
    assert metadata["tokenizer.ggml.merges"] == MERGES
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert metadata.integer("qwen3moe.expert_count") == 4
    assert metadata.integer("general.name") is None
    assert metadata.text("qwen3moe.expert_count") is None
    assert metadata.get("no.such.key") is None


def test_a_version_2_file_reads_the_same(model: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.gguf"
    content = model.read_bytes()
    old.write_bytes(content[:4] + struct.pack("<I", 2) + content[8:])
    first, second = read_header(model), read_header(old)
    assert (second.version, second.metadata.pairs) == (2, first.metadata.pairs)
    assert [(t.name, t.offset) for t in second.tensors] == [(t.name, t.offset) for t in first.tensors]


def test_a_vocabulary_of_152000_tokens_is_walked_fast(tmp_path: Path) -> None:
    path = header_only(tmp_path, "qwq-32b")
    start = time.process_time()
    model = ModelFile.open(path, planning=True)
    assert time.process_time() - start < 1.0
    assert len(model.tensors) == 771
    pair = model.metadata.pair("tokenizer.ggml.tokens")
    assert pair is not None
    assert pair.count == 152064


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"PK\x03\x04 a zip file", "not a GGUF: it begins with b'PK"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(16), "big-endian"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(16), "version 1"),
        (b"GGUF" + struct.pack("<I", 9) + bytes(16), "version is 9"),
        (b"GGUF" + struct.pack("<I", 3), "at least 8 are missing"),
        (b"GGUF" + struct.pack("<Iqq", 3, -1, 0), "claims -1 tensors"),
        (b"GGUF" + struct.pack("<Iqq", 3, 1 << 60, 0), "claims more than"),
        (b"GGUF" + struct.pack("<Iqq", 3, 1000, 0), "truncated inside its header"),
        (b"GGUF" + struct.pack("<IqqQ", 3, 0, 1, 1 << 40), "claims 1099511627776 bytes"),
        (b"GGUF" + struct.pack("<IqqQ", 3, 0, 1, 0), "is empty"),
        (b"GGUF" + struct.pack("<IqqQ", 3, 0, 1, 2) + b"\xff\xfe", "no UTF-8"),
        (b"GGUF" + struct.pack("<IqqQ1sI", 3, 0, 1, 1, b"k", 13), "unknown type 13"),
        (b"GGUF" + struct.pack("<IqqQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 1), "unknown type 9"),
        (b"GGUF" + struct.pack("<IqqQ1sIIQ", 3, 0, 1, 1, b"k", 9, 8, 1 << 50), "claims 1125899906842624 strings"),
        (b"GGUF" + struct.pack("<IqqQ1sIIQ", 3, 0, 1, 1, b"k", 9, 4, 1 << 50), "claims more than"),
        (b"GGUF" + struct.pack("<IqqQ1sIIQQ", 3, 0, 1, 1, b"k", 9, 8, 1, 1 << 62), "longer than any header"),
    ],
)
def test_what_is_no_header_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(GgufError, match=message):
        read_header(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match="no such file"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(GgufError, match="not a file"):
        read_header(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([NewTensor("a", (256,), "F32"), NewTensor("a", (256,), "F32")], "stands in it twice"),
        ([NewTensor("n" * 64, (256,), "F32")], "too long"),
        ([NewTensor("a", (-256, -1), "F32")], r"claims the shape \[-256, -1\]"),
        ([NewTensor("a", (1, 1, 1, 1, 1), "F32")], "claims 5 dimensions"),
        ([NewTensor("a", (1 << 30, 1 << 30, 4), "F32")], "claims the shape"),
    ],
)
def test_impossible_tensors_are_named(tensors: list[NewTensor], message: str) -> None:
    data = header_bytes([], tensors)
    with pytest.raises(GgufError, match=message):
        parse_header(Path("bad.gguf"), data, len(data))


def test_duplicate_keys_and_odd_alignments_are_named() -> None:
    for pairs, message in (
        ([uint32_pair("a", 1), uint32_pair("a", 2)], "'a' stands in it twice"),
        ([uint32_pair("general.alignment", 48)], "not a power of two"),
        ([string_pair("general.alignment", "32")], "not a power of two"),
    ):
        data = header_bytes(pairs, [])
        with pytest.raises(GgufError, match=message):
            parse_header(Path("bad.gguf"), data, len(data))


def test_tensors_that_overlap_or_do_not_fit_their_type_are_refused() -> None:
    data = bytearray(header_bytes([], [NewTensor("a", (32,), "F32"), NewTensor("b", (32,), "F32")]))
    type_of_a = data.index(b"a") + 1 + 4 + 8
    data[type_of_a] = 12  # Q4_K has blocks of 256
    with pytest.raises(GgufError, match="cannot be Q4_K"):
        parse_header(Path("bad.gguf"), bytes(data), len(data))
    data[type_of_a] = 31  # removed from ggml
    with pytest.raises(GgufError, match="cannot be type 31"):
        parse_header(Path("bad.gguf"), bytes(data), len(data))
    data[type_of_a] = 1  # F16 is half as long: b begins too late
    with pytest.raises(GgufError, match="'b' does not begin"):
        parse_header(Path("bad.gguf"), bytes(data), len(data))


@pytest.fixture(scope="module")
def header_of_a_model(model: Path) -> bytes:
    return model.read_bytes()[: read_header(model).data_offset]


@settings(max_examples=300, deadline=None)
@given(cut=st.integers(0, 4000))
def test_every_truncated_header_is_a_gguf_error(header_of_a_model: bytes, cut: int) -> None:
    end = len(header_of_a_model) - 32 - cut % (len(header_of_a_model) - 32)  # less than the closing padding is whole
    with pytest.raises(GgufError):
        parse_header(Path("cut.gguf"), header_of_a_model[:end], end)


@settings(max_examples=500, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=6))
def test_flipped_bytes_are_an_error_or_another_valid_header(
    header_of_a_model: bytes, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(header_of_a_model)
    for position, change in flips:
        data[position % len(data)] ^= change
    try:
        header = parse_header(Path("flipped.gguf"), bytes(data), len(data))
    except GgufError:
        return
    for key in header.metadata:
        assert header.metadata[key] is not None
    assert header.end <= len(data)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(max_size=400))
def test_garbage_behind_the_magic_never_crashes(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "garbage.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + garbage)
    with pytest.raises(GgufError, match="garbage"):  # 400 bytes hold no model, whatever they say
        ModelFile.open(path, planning=True)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
        st.one_of(
            st.tuples(st.just(ValueType.INT64), st.integers(-(2**63), 2**63 - 1)),
            st.tuples(st.just(ValueType.UINT8), st.lists(st.integers(0, 255), max_size=5)),
            st.tuples(st.just(ValueType.BOOL), st.lists(st.booleans(), max_size=5)),
            st.tuples(st.just(ValueType.FLOAT64), st.floats(allow_nan=False)),
            st.tuples(st.just(ValueType.STRING), st.lists(st.text(st.characters(codec="utf-8")), max_size=5)),
            st.tuples(st.just(ValueType.STRING), st.text(st.characters(codec="utf-8"))),
        ),
        max_size=6,
    )
)
def test_pairs_come_back_as_they_were_written(values: dict[str, tuple[ValueType, object]]) -> None:
    values.pop("general.alignment", None)
    pairs = [encode_pair(key, kind, value) for key, (kind, value) in values.items()]
    data = header_bytes(pairs, [])
    header = parse_header(Path("pairs.gguf"), data, len(data))
    assert header.metadata.pairs == tuple(pairs)
    expected = {key: tuple(value) if isinstance(value, list) else value for key, (_, value) in values.items()}
    assert dict(header.metadata) == expected


def test_a_scalar_has_one_dimension(tmp_path: Path) -> None:
    path = tmp_path / "scalar.gguf"
    write_gguf(path, [], [NewTensor("a", (1, 1, 1), "F32")], [[bytes(4)]])
    assert read_header(path).tensors[0].shape == (1,)
