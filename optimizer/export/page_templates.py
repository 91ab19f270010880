"""The templates of the pages, with everything escaped."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from optimizer.export import number_text
from optimizer.export.report_view import REFERENCE, WINNER


@cache
def page_templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("optimizer.export"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"WINNER": WINNER, "REFERENCE": REFERENCE}
    environment.filters |= {
        "size": number_text.size_text,
        "percent": number_text.percent_text,
        "bits": number_text.bits_text,
    }
    environment.globals |= {"kld": number_text.kld_text, "perplexity": number_text.perplexity_text}
    return environment
