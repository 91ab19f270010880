"""A regular expression against the answer, in a process of its own that is ended when it takes too long.

Python's matcher backtracks: some expressions take years on some answers, and while it matches nothing else in the
process runs. An answer is a model's, so which one comes cannot be foreseen.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Annotated, Any

from pydantic import AfterValidator

from evaluators.prompts.sandbox import Sandbox
from evaluators.prompts.verdict import CheckSettings, Judgement, shortened

LONGEST_ANSWER = 20_000  # characters, of the answer's end
SECONDS = 5.0
MATCHER = """\
import json, re, sys
pattern, flags, text = json.load(sys.stdin)
sys.exit(10 if re.search(pattern, text, flags) else 11)
"""
FOUND, NOT_FOUND = 10, 11


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


class Regex(CheckSettings):
    """The expression is found in the answer (`^` and `$` are its beginning and end; `multiline`: those of a line).

    Unavailable where matching takes longer than `SECONDS`: no verdict, since that is the expression's fault.
    """

    value: Annotated[str, AfterValidator(_compiles)]
    ignore_case: bool = False
    multiline: bool = False
    dot_all: bool = False

    def judge(self, answer: str, sandbox: Sandbox) -> Judgement:
        flags = re.IGNORECASE * self.ignore_case | re.MULTILINE * self.multiline | re.DOTALL * self.dot_all
        work: tuple[Any, ...] = (self.value, int(flags), answer[-LONGEST_ANSWER:])
        try:
            ended = subprocess.run(
                [sys.executable, "-I", "-S", "-c", MATCHER],
                input=json.dumps(work), text=True, capture_output=True, timeout=SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Judgement(None, (f"{self.value!r} takes longer than {SECONDS:g} s on this answer; simplify it",))
        if ended.returncode not in (FOUND, NOT_FOUND):
            said = ended.stderr.strip().splitlines()[-1:] or [f"code {ended.returncode}"]
            return Judgement(None, (f"{self.value!r} could not be matched: {said[0]}",))
        return Judgement.of(ended.returncode == FOUND, f"{self.value!r} is not in {shortened(answer)!r}")
