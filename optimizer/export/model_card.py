"""A model card in Markdown: what the file is, how it compares at equal bytes, its recipe, and how it was made."""

from collections.abc import Iterable, Mapping

from optimizer.export.layer_map import layer_map
from optimizer.export.number_text import bits_text, kld_text, percent_text, perplexity_text, size_text
from optimizer.export.report_view import WINNER, Front, Report, ReportRow


def model_card(
    report: Report,
    front: Front,
    *,
    tensor_types: Mapping[str, str] | None = None,
    command: str | None = None,
) -> str:
    """The card of one budget's winner.

    Args:
        tensor_types: the winner's recipe, for the table of types by role.
        command: the llama-quantize command that makes the file again.
    """
    parts = [
        _front_matter(),
        f"# {_plain(report.model_name)}: {size_text(front.best.size_bytes)}, "
        f"{bits_text(front.best.bits_per_weight) or 'unknown'} bits per weight",
        _opening(report, front),
        "## Measured\n\n" + comparison_table(report, front) + "\n\n" + _reading_aid(report, front),
        _recipe(front, tensor_types),
    ]
    if command:
        parts.append(
            "## Made with llama.cpp alone\n\nThis command makes the same tensors, bit for bit "
            "(without the metadata block `layerquant.recipe`).\n\n```sh\n" + command.rstrip("\n") + "\n```"
        )
    parts.append(_provenance(report, front))
    return "\n\n".join(parts) + "\n"


def comparison_table(report: Report, front: Front) -> str:
    """Winner, source model and baselines by size; in bold what was made here."""
    rows = [*front.baselines, front.best, *([report.reference] if report.reference else [])]
    lines = [
        "| file | bytes | bpw | mean KLD (nats/token) | perplexity | same top token | fits |",
        "|---|--:|--:|--:|--:|--:|:-:|",
    ]
    return "\n".join([*lines, *(_line(row) for row in sorted(rows, key=lambda row: (row.size_bytes, row.mean_kld)))])


def _line(row: ReportRow) -> str:
    cells = [
        _cell(row.name),
        f"{row.size_bytes:,}",
        bits_text(row.bits_per_weight),
        kld_text(row.mean_kld, row.mean_kld_standard_error),
        perplexity_text(row.perplexity, row.perplexity_standard_error),
        percent_text(row.top1_agreement),
        "yes" if row.fits else "no",
    ]
    if row.kind == WINNER:
        cells = [f"**this file ({cells[0]})**", *(f"**{cell}**" if cell else "" for cell in cells[1:])]
    return f"| {' | '.join(cells)} |"


def _front_matter() -> str:
    return "---\ntags:\n- gguf\n- quantized\n- layerquant\n---"


def _opening(report: Report, front: Front) -> str:
    sentence = (
        f"A mixed-precision GGUF of {_plain(report.model_name)}: the type of every tensor was chosen for the least "
        f"KL divergence from the source model within {front.budget_bytes:,} bytes ({_plain(front.budget)})."
    )
    return sentence + (f"\n\n**Result:** {_plain(front.verdict)}." if front.verdict else "")


def _reading_aid(report: Report, front: Front) -> str:
    sentences = [
        "Measured on a text that the search never saw; ± is one standard error over tokens. KLD is the mean KL "
        "divergence of each next-token distribution from the source model's: lower is better, the source model has 0."
    ]
    if front.interpolated_preset_kld:
        ratio = front.best.mean_kld / front.interpolated_preset_kld
        sentences.append(f"Its KLD is {ratio:.3f} times that of {front.interpolation}.")
    if front.pruning:
        sentences.append(f"{_plain(front.pruning[:1].upper() + front.pruning[1:])}.")
    if report.noise_floor_kld is not None:
        sentences.append(
            f"Below {report.noise_floor_kld:.1e} no difference is claimed: so much the source model differs from "
            "itself in other batch shapes."
        )
    return "\n".join(sentences)


def _recipe(front: Front, tensor_types: Mapping[str, str] | None) -> str:
    flags = f'FLAGS="{front.flags}"\n' if front.flags else ""
    text = f"## Recipe\n\n```sh\n{flags}LAYER_TYPES='{front.layer_types}'\n```\n\n" + (
        'A row is a layer and its layer type. Rows that begin with `"DEF"` define the layer types that no preset of '
        "llama.cpp names."
    )
    if not tensor_types:
        return text
    table = [f"| {_cell(role)} | {_cell(kinds)} |" for role, kinds in layer_map(tensor_types).summary()]
    return text + "\n\n" + "\n".join(["| tensors | types |", "|---|---|", *table])


def _provenance(report: Report, front: Front) -> str:
    facts: Iterable[tuple[str, str]] = (
        ("study", f"{report.study}, trial {front.trial}"),
        ("source", f"{report.model_name}" + (f", {report.n_layer} layers" if report.n_layer else "")),
        ("report text", report.report_text + (f", {report.report_chunks} chunks" if report.report_chunks else "")),
        ("evaluated with", report.engine),
    )
    lines = [f"- {name}: {_plain(value)}" for name, value in facts if value]
    return "## How it was made\n\nFound by layerquant.\n\n" + "\n".join(lines)


def _plain(text: str) -> str:
    """One line, without letters that Markdown or HTML would act on."""
    single = " ".join(text.split())
    return single.translate({ord(letter): f"\\{letter}" for letter in "\\`*[]<>#"})


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
