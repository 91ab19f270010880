"""The check that code in an answer passes unit tests; it runs in a sandbox or not at all."""

from __future__ import annotations

import ast
import warnings
from typing import Annotated

from pydantic import AfterValidator, Field

from evaluators.prompts.answers import fenced_blocks
from evaluators.prompts.sandbox import Sandbox
from evaluators.prompts.verdict import CheckSettings, Judgement

LANGUAGES = ("", "python", "python3", "py")


def _is_python(source: str) -> str:
    try:
        compile(source, "tests", "exec")
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"the tests are no Python: {error}") from error
    return source


class CodeCheck(CheckSettings):
    """`tests` (Python: assertions about `defines`) end without an exception behind the answer's code.

    seconds: of processor time; megabytes: of address space.
    """

    defines: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
    tests: Annotated[str, AfterValidator(_is_python), Field(min_length=1)]
    seconds: Annotated[int, Field(ge=1, le=600)] = 5
    megabytes: Annotated[int, Field(ge=64, le=16384)] = 512

    def judge(self, answer: str, sandbox: Sandbox) -> Judgement:
        solution = code_defining(self.defines, answer)
        if solution is None:
            return Judgement(False, (f"holds no Python code that defines {self.defines!r}",))
        ended = sandbox.run(solution, self.tests, seconds=self.seconds, memory_bytes=self.megabytes * 10**6)
        return Judgement(ended.passed, (ended.reason,) if ended.reason else ())


def code_defining(name: str, answer: str) -> str | None:
    """The last fenced Python block that defines the name at its top level, else the answer itself if it does."""
    blocks = [content for language, content in fenced_blocks(answer) if language in LANGUAGES]
    return next((source for source in [*reversed(blocks), answer] if name in _defined(source)), None)


def _defined(source: str) -> set[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    named = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return named | {target.id for target in targets if isinstance(target, ast.Name)}
