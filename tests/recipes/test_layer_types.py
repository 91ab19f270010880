import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import RecipeError
from optimizer.gguf.tensor_types import TARGET_TYPES
from optimizer.recipes import Flags, LayerTypes, format_json, format_shell, parse, parse_flags

CARD = """FLAGS="--token-embedding-type Q4_K --output-tensor-type Q6_K --layer-types-high"
LAYER_TYPES='[
   ["A","attn","Q","attn_q","D","ffn_d"],
   ["MAP","VOD","0","QN_K","4","Q4_K"],
   [0 ,"Q5_K_M"],[1 ,"q4_k_444"], [2,"Q3_K_L"]
   ]'
"""


def test_the_form_of_a_model_card() -> None:
    read = parse(CARD)
    assert read.rows == ((0, "Q5_K_M"), (1, "q4_k_444"), (2, "Q3_K_L"))
    assert read.meta_rows == (("A", "attn", "Q", "attn_q", "D", "ffn_d"), ("MAP", "VOD", "0", "QN_K", "4", "Q4_K"))
    assert read.flags == Flags("Q4_K", "Q6_K", True)
    assert parse(format_shell(read)) == read


@pytest.mark.parametrize(
    "text",
    [
        '[[0,"Q4_K_M"]]',
        ' \n[ [0 , "Q4_K_M" ] ]\n',
        "LAYER_TYPES='[[0,\"Q4_K_M\"]]'",
        "export LAYER_TYPES='[[0,\"Q4_K_M\"]]'\n",
        'LAYER_TYPES=[[0,"Q4_K_M"]]',
    ],
)
def test_bare_and_shell_forms_without_flags(text: str) -> None:
    assert parse(text) == LayerTypes(((0, "Q4_K_M"),))


def test_flags_before_a_bare_list_and_in_single_quotes() -> None:
    read = parse("FLAGS='--output-tensor-type=q6_k'\n[[0,\"Q4_K_M\"]]")
    assert read == LayerTypes(((0, "Q4_K_M"),), (), Flags(None, "Q6_K"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[0,"Q4_K_M"],\n [1,Q4_K_M]]', r"line 2, column 5, near '\[1,Q4_K_M\]\]'"),
        ('[[0,"Q4_K_M"],]', "no JSON"),
        ("", "line 1, column 1"),
        ('LAYER_TYPES=\'[[0,"Q4_K_M"]]', "no closing quote"),
        ('{"0":"Q4_K_M"}', "no list of rows"),
        ('[["0","Q4_K_M"]]', "row 1 of LAYER_TYPES"),
        ('[[0,"Q4_K_M"],[1]]', "row 2 of LAYER_TYPES is \\[1\\]"),
        ('[[0,"Q4_K_M"],[-1,"Q4_K_M"]]', "row 2"),
        ('[[true,"Q4_K_M"]]', "row 1"),
        ('[[0.0,"Q4_K_M"]]', "row 1"),
        ('[[0,""]]', "row 1"),
        ('[["MAP"]]', "row 1"),
        ('[[0,"Q4_K_M"],[1,"Q6_K"],[0,"Q8_0"]]', r"layer 0 stands in LAYER_TYPES twice, as Q4_K_M and as Q8_0"),
        ("[" * 100000, "no JSON|nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--token-embedding-type", "lacks its tensor type"),
        ("--output-tensor-type Q4_K_M", "no tensor type of ggml"),
        ("--tensor-pad [[1,2]]", "'--tensor-pad' in FLAGS is not understood"),
        ("--layer-types-high=1", "not understood"),
        ("'--output", "cannot be read"),
    ],
)
def test_flags_that_cannot_be_read_are_named(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_flags(text)


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
names = words.map(str.strip).filter(bool)
heads = words.filter(lambda word: not word.strip().lstrip("+-").isdigit())
flags = st.builds(
    Flags, st.none() | st.sampled_from(TARGET_TYPES), st.none() | st.sampled_from(TARGET_TYPES), st.booleans()
)
layer_types = st.builds(
    LayerTypes,
    st.dictionaries(st.integers(0, 10**6), names, max_size=8).map(lambda rows: tuple(rows.items())),
    st.lists(st.tuples(heads, words, words), max_size=4).map(tuple),
    st.none() | flags,
)


@given(layer_types)
def test_both_forms_are_read_back_as_they_were(given_types: LayerTypes) -> None:
    assert parse(format_shell(given_types)) == given_types
    assert parse(format_json(given_types)) == LayerTypes(given_types.rows, given_types.meta_rows)


@given(flags)
def test_flags_are_read_back_as_they_were(given_flags: Flags) -> None:
    assert parse_flags(str(given_flags)) == given_flags


@given(st.text(max_size=60) | st.text("[]\"',0LAYERTPS_=FG Q4K", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read = parse(text)
    except RecipeError:
        return
    assert parse(format_shell(read)) == read


def test_a_shell_reads_what_is_written_for_it() -> None:
    shell = shutil.which("sh")
    assert shell
    given_types = LayerTypes(((0, "Q4_K_M"), (1, "it's $HOME `x` \\ !")), (("DEF", "A", "all=Q4_K"),), Flags("Q4_K"))
    script = format_shell(given_types) + 'printf "%s" "$LAYER_TYPES"'
    printed = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed)[1:] == [[0, "Q4_K_M"], [1, "it's $HOME `x` \\ !"]]
