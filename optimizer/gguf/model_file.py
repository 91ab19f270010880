"""A model as it lies on disk, in one GGUF or split over several: what planning and quantization need to know of it."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from optimizer.errors import GgufError
from optimizer.gguf.header import Header, TensorInfo, read_header
from optimizer.gguf.metadata import KeyValue, Metadata, ValueType, uint32_pair
from optimizer.gguf.splits import sibling_splits
from optimizer.gguf.tensor_types import TENSOR_TYPES

MAX_LAYERS = 512
"""LLAMA_MAX_LAYERS of the pinned llama.cpp."""
SAMPLE_BYTES = 4096
NATIVE_TYPES = frozenset({"MXFP4"})
"""Quantized types that models are published in; such tensors are the original, not a copy of it, and are kept."""

_BLOCK = re.compile(r"blk\.(\d+)")
_FILE_TYPE = "general.file_type"
_SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")


def block_number(name: str) -> int:
    """The layer of a tensor's name, -1 outside the layers (as weight_name_comparer of llama.cpp reads it)."""
    match = _BLOCK.match(name)
    return int(match[1]) if match else -1


def canonical_order(tensors: Iterable[TensorInfo]) -> tuple[TensorInfo, ...]:
    """The order in which llama.cpp visits and writes tensors: outside the layers first, then by layer, then by name."""
    return tuple(sorted(tensors, key=lambda tensor: (block_number(tensor.name), tensor.name.encode())))


@dataclass(frozen=True)
class ModelFile:
    headers: tuple[Header, ...]
    """One, or those of all splits in order."""
    architecture: str
    n_layer: int
    """All blocks, multi-token-prediction (NextN) ones included, as llama.cpp's presets count them."""
    tensors: tuple[TensorInfo, ...]
    """Of all files, in llama.cpp's order."""
    pruned_layers: tuple[int, ...] = ()
    """Layers of the files that this view of them leaves out (optimizer/gguf/pruning.py)."""
    added: tuple[KeyValue, ...] = ()
    """Metadata that a quantized file of it has besides."""

    @classmethod
    def open(cls, path: Path, *, planning: bool = False) -> "ModelFile":
        """Opens a model by its file, or by any part of a split one.

        Args:
            planning: accept a file that ends behind its header; sizes can be computed from it, nothing else.

        Raises:
            GgufError: no such file, no GGUF, no language model, a missing split, or a truncated file.
        """
        header = read_header(path)
        count = header.metadata.integer("split.count") or 1
        if count <= 1:
            return cls._of_headers((header,), planning)
        return cls.open_splits(sibling_splits(path, count), planning=planning)

    @classmethod
    def open_splits(cls, paths: Sequence[Path], *, planning: bool = False) -> "ModelFile":
        """Opens a model by all its files in order, whatever their names are."""
        return cls._of_headers(tuple(read_header(path) for path in paths), planning)

    @classmethod
    def _of_headers(cls, headers: tuple[Header, ...], planning: bool) -> "ModelFile":
        if len(headers) > 1:
            _check_splits(headers)
        for header in headers:
            _check_length(header, planning)
        tensors = canonical_order(tensor for header in headers for tensor in header.tensors)
        _check_names(headers[0].path, tensors)
        architecture, n_layer = _architecture(headers[0])
        return cls(headers, architecture, n_layer, tensors)

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(header.path for header in self.headers)

    @property
    def metadata(self) -> Metadata:
        """Of the first file; later splits carry nothing but their number."""
        return self.headers[0].metadata

    @property
    def name(self) -> str | None:
        return self.metadata.text("general.name")

    @property
    def version(self) -> int:
        return self.headers[0].version

    @property
    def alignment(self) -> int:
        return self.headers[0].alignment

    @property
    def size_bytes(self) -> int:
        return sum(header.size_bytes for header in self.headers)

    @property
    def is_header_only(self) -> bool:
        """Tensor data is missing by intent: sizes can be planned, nothing can be quantized or scored."""
        return any(header.is_header_only for header in self.headers)

    @cached_property
    def by_name(self) -> dict[str, TensorInfo]:
        return {tensor.name: tensor for tensor in self.tensors}

    @property
    def n_elements(self) -> int:
        """Weights of the model: what bits per weight are counted over."""
        return sum(tensor.n_elements for tensor in self.tensors)

    @property
    def has_tokenizer(self) -> bool:
        """Whether text can be turned into tokens; "no_vocab" and "none" are llama.cpp's words for a model without."""
        return self.metadata.text("tokenizer.ggml.model") not in (None, "no_vocab", "none")

    @property
    def quantized_source(self) -> bool:
        """Whether weights are already quantized, natively quantized ones (MXFP4) aside."""
        return any(TENSOR_TYPES[t.tensor_type].is_quantized and t.tensor_type not in NATIVE_TYPES for t in self.tensors)

    @property
    def tied_embeddings(self) -> bool:
        """Whether the token embeddings serve as output, too (no output.weight in the file)."""
        return "token_embd.weight" in self.by_name and "output.weight" not in self.by_name

    @property
    def n_expert(self) -> int:
        """Experts a layer, 0 in a dense model."""
        return self.metadata.integer(f"{self.architecture}.expert_count") or 0

    @property
    def n_nextn_layer(self) -> int:
        """Multi-token-prediction blocks among the layers; they are the last ones."""
        return self.metadata.integer(f"{self.architecture}.nextn_predict_layers") or 0

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over the headers, the sizes and the first and last 4 KiB of every tensor.

        Cheap on a 65 GB model: it reads two pages a tensor. Two files that differ only inside tensors, with equal ends
        of every one of them, would be taken for the same; training changes all of them.
        """
        digest = hashlib.sha256()
        if self.pruned_layers:
            digest.update(f"without {self.pruned_layers}".encode())
        for header in self.headers:
            with header.path.open("rb") as file:
                digest.update(file.read(header.end))
                digest.update(header.size_bytes.to_bytes(8, "little"))
                if header.is_header_only:
                    continue
                for tensor in header.tensors:
                    file.seek(tensor.offset)
                    digest.update(file.read(min(SAMPLE_BYTES, tensor.n_bytes)))
                    file.seek(tensor.offset + max(0, tensor.n_bytes - SAMPLE_BYTES))
                    digest.update(file.read(min(SAMPLE_BYTES, tensor.n_bytes)))
        return digest.hexdigest()

    @cached_property
    def output_pairs(self) -> tuple[KeyValue, ...]:
        """The metadata of a quantized file of this model, byte for byte as llama-quantize writes it, in its order.

        The two keys that it sets are general.quantization_version (2) and general.file_type, here 0: whoever writes
        the file replaces it by its preset's (`with_file_type`). Strings end at a zero byte and truth values are 0 or
        1, because llama-quantize copies them through C strings and bools. One difference: general.alignment is left
        out unless it is 32, for llama-quantize keeps it while it pads to 32, and the result cannot be read. Then comes
        what was `added`; the block count comes last where layers are pruned.
        """
        dropped = {*_SPLIT_KEYS, "general.quantization_version", _FILE_TYPE, *(pair.key for pair in self.added)}
        if self.alignment != 32:
            dropped.add("general.alignment")
        count_key = f"{self.architecture}.block_count"
        last = [pair for pair in self.metadata.pairs if self.pruned_layers and pair.key == count_key]
        kept = [_through_c(pair) for pair in self.metadata.pairs if pair.key not in dropped and pair not in last]
        return (*kept, uint32_pair("general.quantization_version", 2), uint32_pair(_FILE_TYPE, 0), *self.added, *last)

    def adding(self, pairs: Sequence[KeyValue]) -> "ModelFile":
        """The same model, whose quantized files say this too; what the source says under these keys is replaced."""
        return replace(self, added=tuple(pairs))

    def with_file_type(self, file_type: int, extra: Sequence[KeyValue] = ()) -> tuple[KeyValue, ...]:
        """`output_pairs` with general.file_type set (llama.cpp's ftype number), and more pairs behind."""
        number = uint32_pair(_FILE_TYPE, file_type)
        return (*(number if pair.key == _FILE_TYPE else pair for pair in self.output_pairs), *extra)


def _check_splits(headers: Sequence[Header]) -> None:
    first = headers[0]
    for number, header in enumerate(headers):
        if header.metadata.integer("split.no") != number:
            raise GgufError(
                f"{header.path}: part {number} of a split model was expected, its split.no says "
                f"{header.metadata.integer('split.no')}. A part was renamed, or parts of two models lie together."
            )
    if first.metadata.integer("split.count") != len(headers):
        raise GgufError(f"{first.path}: says {first.metadata.integer('split.count')} parts, {len(headers)} were given.")
    total, found = first.metadata.integer("split.tensors.count"), sum(len(header.tensors) for header in headers)
    if total is not None and total != found:
        raise GgufError(f"{first.path}: the model has {total} tensors, its parts hold {found}. Download them again.")


def _check_length(header: Header, planning: bool) -> None:
    missing = header.required_bytes - header.size_bytes
    if missing <= 0:
        return
    if not header.is_header_only:
        raise GgufError(
            f"{header.path}: truncated: its header promises {header.required_bytes} bytes, {header.size_bytes} are "
            f"there, {missing} are missing. Download or copy the file again."
        )
    if not planning:
        raise GgufError(
            f"{header.path}: truncated behind its header: all {missing} bytes of tensor data are missing. A header "
            "alone is enough for `layerquant plan`; for anything else, download the whole file."
        )


def _check_names(path: Path, tensors: Sequence[TensorInfo]) -> None:
    names: set[str] = set()
    for tensor in tensors:
        if tensor.name in names:
            raise GgufError(f"{path}: tensor {tensor.name!r} is in two parts of the split model. Download them again.")
        names.add(tensor.name)


def _architecture(header: Header) -> tuple[str, int]:
    architecture = header.metadata.text("general.architecture")
    kind = header.metadata.text("general.type") or "model"
    if not architecture or kind != "model":
        what = f"a GGUF of the type {kind!r}" if kind != "model" else "a GGUF without general.architecture"
        raise GgufError(f"{header.path}: {what}, not a language model. Name the model's own file.")
    n_layer = header.metadata.integer(f"{architecture}.block_count")
    if n_layer is None or not 0 < n_layer <= MAX_LAYERS:
        raise GgufError(
            f"{header.path}: {architecture}.block_count is {n_layer}; a model that llama.cpp runs has 1 to "
            f"{MAX_LAYERS} layers. Name a language model's file, or convert it again."
        )
    return architecture, n_layer


def _through_c(pair: KeyValue) -> KeyValue:
    if pair.value_type is ValueType.BOOL:
        values = bytes(1 if byte else 0 for byte in pair.raw[pair.payload :])
        return KeyValue(
            pair.key, pair.value_type, pair.is_array, pair.count, pair.raw[: pair.payload] + values, pair.payload
        )
    if pair.value_type is not ValueType.STRING or b"\0" not in b"".join(pair.strings()):
        return pair
    cut = [text.split(b"\0", 1)[0] for text in pair.strings()]
    body = b"".join(len(text).to_bytes(8, "little") + text for text in cut)
    return KeyValue(pair.key, pair.value_type, pair.is_array, pair.count, pair.raw[: pair.payload] + body, pair.payload)
