"""A recipe as LAYER_TYPES='[...]' with its FLAGS, ready to paste into a shell script."""

from collections.abc import Iterable

from optimizer.recipes.layer_types import LayerTypes, format_shell


def layer_types_text(layer_types: LayerTypes, comments: Iterable[str] = ()) -> str:
    """FLAGS and LAYER_TYPES in the shell's form, behind `# ` comments (where the recipe comes from, how it scored).

    Layer types that no preset names are defined by `["DEF", ...]` rows of the list itself, so the text is complete.
    """
    lines = [line for comment in comments for line in comment.splitlines()]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines) + format_shell(layer_types)
