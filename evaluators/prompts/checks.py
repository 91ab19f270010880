"""Does a transcript pass its prompt's checks?"""

from __future__ import annotations

from evaluators.prompts.answers import final_answer
from evaluators.prompts.prompt import Prompt
from evaluators.prompts.sandbox import Bubblewrap, Sandbox
from evaluators.prompts.verdict import Judgement

__all__ = ["Judgement", "judge"]


def judge(prompt: Prompt, transcript: str, sandbox: Sandbox | None = None) -> Judgement:
    """The verdict on a whole generated text, reasoning included; all checks must hold.

    `passed` is None where no check failed and one could not be run here. Whether the generation stopped by itself is
    not asked. `sandbox`: where code runs, bubblewrap by default.
    """
    answer = final_answer(transcript)
    if answer is None:
        return Judgement(False, ("gives no answer, or none behind its reasoning",))
    used = sandbox if sandbox is not None else Bubblewrap()
    return Judgement.all_of(check.judge(answer, used) for check in prompt.checks)
