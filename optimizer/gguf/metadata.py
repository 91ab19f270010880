"""Metadata pairs of a GGUF: kept as the bytes they were, decoded only when somebody asks.

A vocabulary of 152,000 tokens and its merges is most of a header. Reading a model walks over it once to find its end;
writing a candidate copies it as it is; nobody decodes it in between.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

Scalar = bool | int | float | str
MetadataValue = Scalar | tuple[Scalar, ...]


class ValueType(IntEnum):
    """`enum gguf_type` of gguf.h."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


SCALAR_FORMATS: Mapping[ValueType, str] = MappingProxyType(
    {
        ValueType.UINT8: "B",
        ValueType.INT8: "b",
        ValueType.UINT16: "H",
        ValueType.INT16: "h",
        ValueType.UINT32: "I",
        ValueType.INT32: "i",
        ValueType.FLOAT32: "f",
        ValueType.BOOL: "B",
        ValueType.UINT64: "Q",
        ValueType.INT64: "q",
        ValueType.FLOAT64: "d",
    }
)
"""struct's letter for each value of fixed size (little-endian, no padding)."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One pair. `raw` is the whole pair as it stands in a file: key, type and value."""

    key: str
    value_type: ValueType
    """Of the elements, where the pair is an array."""
    is_array: bool
    count: int
    raw: bytes
    payload: int
    """Where in `raw` the value's bytes begin."""

    def decode(self) -> MetadataValue:
        if self.value_type is ValueType.STRING:
            strings = tuple(text.decode("utf-8", errors="replace") for text in self.strings())
            return strings if self.is_array else strings[0]
        values = struct.unpack_from(f"<{self.count}{SCALAR_FORMATS[self.value_type]}", self.raw, self.payload)
        if self.value_type is ValueType.BOOL:
            values = tuple(bool(value) for value in values)
        return values if self.is_array else values[0]

    def strings(self) -> Iterator[bytes]:
        """The strings of a string or an array of strings, undecoded."""
        position, raw = self.payload, self.raw
        for _ in range(self.count):
            (length,) = struct.unpack_from("<Q", raw, position)
            position += 8
            yield raw[position : position + length]
            position += length


class Metadata(Mapping[str, MetadataValue]):
    """The pairs of one file, in the file's order; a value is decoded at its first use."""

    def __init__(self, pairs: Sequence[KeyValue]) -> None:
        self.pairs = tuple(pairs)
        self._by_key = {pair.key: pair for pair in self.pairs}
        self._decoded: dict[str, MetadataValue] = {}

    def __getitem__(self, key: str) -> MetadataValue:
        if key not in self._decoded:
            self._decoded[key] = self._by_key[key].decode()
        return self._decoded[key]

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def pair(self, key: str) -> KeyValue | None:
        """The pair itself: its type and length without decoding."""
        return self._by_key.get(key)

    def integer(self, key: str) -> int | None:
        """The value where it is a whole number, else None."""
        pair = self._by_key.get(key)
        if pair is None or pair.is_array or pair.value_type in (ValueType.BOOL, ValueType.STRING):
            return None
        value = self[key]
        return value if isinstance(value, int) else None

    def text(self, key: str) -> str | None:
        """The value where it is a string, else None."""
        value = self[key] if key in self._by_key and not self._by_key[key].is_array else None
        return value if isinstance(value, str) else None


def encode_pair(key: str, value_type: ValueType, value: Scalar | Sequence[Scalar]) -> KeyValue:
    """A new pair; a sequence becomes an array of `value_type`."""
    encoded_key = key.encode()
    head = struct.pack("<Q", len(encoded_key)) + encoded_key
    is_array = not isinstance(value, (str, int, float, bool))
    values: Sequence[Scalar] = value if is_array else (value,)  # type: ignore[assignment]
    if is_array:
        head += struct.pack("<IIQ", ValueType.ARRAY, value_type, len(values))
    else:
        head += struct.pack("<I", value_type)
    if value_type is ValueType.STRING:
        texts = [str(text).encode() for text in values]
        body = b"".join(struct.pack("<Q", len(text)) + text for text in texts)
    else:
        body = struct.pack(f"<{len(values)}{SCALAR_FORMATS[value_type]}", *values)
    return KeyValue(key, value_type, is_array, len(values), head + body, len(head))


def uint32_pair(key: str, value: int) -> KeyValue:
    return encode_pair(key, ValueType.UINT32, value)


def string_pair(key: str, value: str) -> KeyValue:
    return encode_pair(key, ValueType.STRING, value)
