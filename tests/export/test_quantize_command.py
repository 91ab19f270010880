"""The llama-quantize command: read back as llama-quantize reads it, it makes exactly the recipe's tensors."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from optimizer import llama
from optimizer.export.quantize_command import base_preset, grouped_patterns, quantize_command
from optimizer.export.tensor_type_file import name_pattern, read_tensor_type_file, tensor_type_file, types_by_pattern
from optimizer.gguf import ModelFile, parse_tensor_type
from optimizer.quantization import quantize
from optimizer.recipes.recipe import Recipe
from tests.export.conftest import Subject, contents, mixed_recipe, subject
from tests.models import header_only, tiny_model

KINDS = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_XS", "IQ4_NL", "F16"]


@dataclass
class Arguments:
    """A llama-quantize command line, taken apart as tools/quantize/quantize.cpp does it."""

    flags: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    patterns: list[tuple[str, str]] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)

    @property
    def all_patterns(self) -> dict[str, str]:
        """With the embeddings' flags, which go before patterns, as patterns."""
        first = {
            name_pattern(name): parse_tensor_type(self.values[flag])
            for flag, name in (
                ("--token-embedding-type", "token_embd.weight"),
                ("--output-tensor-type", "output.weight"),
            )
            if flag in self.values
        }
        return first | dict(self.patterns)


def take_apart(command: str) -> Arguments:
    words = shlex.split(command.replace("\\\n", ""))  # a shell joins such lines, shlex does not
    assert words.pop(0) == "llama-quantize"
    arguments = Arguments()
    while words and words[0].startswith("--"):
        flag = words.pop(0)
        if flag == "--allow-requantize":
            arguments.flags.add(flag)
        elif flag == "--tensor-type":
            arguments.patterns += read_tensor_type_file(words.pop(0))
        elif flag == "--tensor-type-file":
            arguments.patterns += read_tensor_type_file(Path(words.pop(0)).read_text(encoding="utf-8"))
        else:
            arguments.values[flag] = words.pop(0)
    arguments.positions = words
    return arguments


def test_the_command_makes_our_tensors(dense: Subject, tmp_path: Path) -> None:
    recipe = mixed_recipe(dense, KINDS, seed=5)
    ours, theirs, listed = tmp_path / "ours.gguf", tmp_path / "theirs, with spaces.gguf", tmp_path / "types.txt"
    quantize(dense.model, recipe, dense.presets.quantizable, ours)
    listed.write_text(tensor_type_file(recipe, dense.model), encoding="utf-8")
    inline = take_apart(quantize_command(recipe, dense.model, theirs))
    by_file = take_apart(quantize_command(recipe, dense.model, theirs, tensor_type_file=listed))
    for arguments in (inline, by_file):
        source, out, base = arguments.positions
        assert (Path(source), Path(out)) == (dense.path, theirs)
        assert "--imatrix" not in arguments.values
        assert types_by_pattern(arguments.all_patterns.items(), dense.presets.quantizable) == recipe.tensor_types
        llama.quantize_file(Path(source), theirs, base, tensor_types=arguments.all_patterns, threads=2)
        assert contents(theirs) == contents(ours)
        theirs.unlink()


def test_tied_embeddings_have_no_output_type(tmp_path: Path) -> None:
    tied = subject(tmp_path, tied=True, n_layer=1)
    arguments = take_apart(quantize_command(mixed_recipe(tied, ["Q6_K"]), tied.model, tmp_path / "out.gguf"))
    assert set(arguments.values) == {"--token-embedding-type"}


def test_imatrix_is_passed_on(dense: Subject, tmp_path: Path) -> None:
    recipe = mixed_recipe(dense, ["Q4_K"])
    command = quantize_command(recipe, dense.model, tmp_path / "out.gguf", imatrix=Path("my imatrix.gguf"))
    assert take_apart(command).values["--imatrix"] == "my imatrix.gguf"


def test_a_published_command_can_name_the_source_without_its_folder(dense: Subject) -> None:
    command = quantize_command(mixed_recipe(dense, ["Q4_K"]), dense.model, Path("out.gguf"), source=Path("tiny.gguf"))
    assert take_apart(command).positions[:2] == ["tiny.gguf", "out.gguf"]
    assert str(dense.path.parent) not in command


def test_requantizing_is_asked_for_only_where_it_happens(dense: Subject, tmp_path: Path) -> None:
    quantized = ModelFile.open(tiny_model(tmp_path, tensor_type="Q8_0", n_layer=1))
    weights = [tensor.name for tensor in quantized.tensors if len(tensor.shape) > 1]
    smaller, same = Recipe(dict.fromkeys(weights, "Q4_K")), Recipe(dict.fromkeys(weights, "Q8_0"))
    assert take_apart(quantize_command(smaller, quantized, Path("out.gguf"))).flags == {"--allow-requantize"}
    assert take_apart(quantize_command(same, quantized, Path("out.gguf"))).flags == set()
    plain = mixed_recipe(dense, ["Q4_K"])
    assert take_apart(quantize_command(plain, dense.model, Path("out.gguf"))).flags == set()


@pytest.mark.parametrize(
    ("tensor_type", "base"),
    [("Q4_K", "Q4_K_M"), ("IQ4_XS", "IQ4_XS"), ("Q2_K", "Q2_K"), ("F16", "Q8_0"), ("BF16", "Q8_0"), ("F32", "Q8_0")],
)
def test_base_is_quantized_and_asks_for_no_imatrix(dense: Subject, tensor_type: str, base: str) -> None:
    recipe = Recipe(dict.fromkeys(dense.presets.quantizable, tensor_type))
    assert base_preset(recipe, dense.model) == base
    assert not dense.presets[base].needs_imatrix


def test_words_name_exactly_their_tensors_on_a_large_model(tmp_path: Path) -> None:
    model = ModelFile.open(header_only(tmp_path, "qwen3-30b-a3b", n_vocab=2000), planning=True)
    names = [tensor.name for tensor in model.tensors if len(tensor.shape) > 1]
    types = {name: KINDS[number * 7 % 5] for number, name in enumerate(names)}
    words = grouped_patterns(types)
    assert len(words) < len(names) / 4
    assert types_by_pattern(read_tensor_type_file("\n".join(words)), names) == types
