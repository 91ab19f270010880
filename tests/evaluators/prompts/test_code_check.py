"""Code in an answer: which block counts, and what the sandbox's verdict becomes."""

import pytest

from evaluators.prompts.code_check import CodeCheck, code_defining
from tests.evaluators.prompts.sandboxes import Recorded

CHECK = CodeCheck(defines="f", tests="assert f() == 1", seconds=3, megabytes=100)
BLOCK = "```python\ndef f():\n    return {}\n```\n"


@pytest.mark.parametrize("passed", [True, False, None])
def test_the_sandbox_decides(passed: bool | None) -> None:
    sandbox = Recorded(passed)
    judged = CHECK.judge(BLOCK.format(1), sandbox)
    assert judged.passed is passed
    assert judged.reasons == (() if passed else ("as told",))
    assert sandbox.limits == (3, 100_000_000)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (BLOCK.format(1) + BLOCK.format(2), "def f():\n    return 2\n"),
        (BLOCK.format(1) + "Try it:\n```python\nprint(f())\n```\n", "def f():\n    return 1\n"),
        ("```\nf = lambda: 1\n```", "f = lambda: 1\n"),
        ("def f():\n    return '\\d'", "def f():\n    return '\\d'"),
        ("```javascript\nfunction f() {}\n```", None),
        ("```python\ndef g():\n    def f(): pass\n```", None),
        ("```python\ndef f(:\n```", None),
        ("```python\ndef f(): return 1", None),
    ],
)
def test_the_last_block_that_defines_the_name_counts(answer: str, code: str | None) -> None:
    assert code_defining("f", answer) == code
    assert code is not None or CHECK.judge(answer, Recorded(True)).passed is False


def test_tests_must_be_python() -> None:
    with pytest.raises(ValueError, match="the tests are no Python"):
        CodeCheck(defines="f", tests="assert f( == 1")
