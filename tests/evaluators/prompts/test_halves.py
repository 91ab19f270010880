"""A suite is parted into one half for the search and one for the report."""

from evaluators.prompts.prompt import Prompt
from evaluators.prompts.suite import Suite


def suite_of(*prompt_ids: str, category: str = "c") -> Suite:
    prompts = [Prompt(each, category, None, "q", "on", 1, ()) for each in prompt_ids]
    return Suite("s", tuple(prompts), "0" * 64)


def ids(suite: Suite) -> list[str]:
    return [prompt.id for prompt in suite.prompts]


def test_halves_part_every_category_evenly() -> None:
    prompts = [each for name in "abcde" for each in suite_of(*(f"{name}{n}" for n in range(7)), category=name).prompts]
    search, report = Suite("s", tuple(prompts), "0" * 64).halves()
    assert sorted(ids(search) + ids(report)) == sorted(prompt.id for prompt in prompts)
    for name in "abcde":
        assert sum(each.startswith(name) for each in ids(search)) in (3, 4)
    assert (search.name, report.name, search.sha256) == ("s/search", "s/report", "0" * 64)


def test_another_prompt_moves_at_most_one() -> None:
    for count in range(1, 30):
        before = ids(suite_of(*map(str, range(count))).halves()[0])
        after = ids(suite_of(*map(str, range(count + 1))).halves()[0])
        assert len(set(before) ^ (set(after) - {str(count)})) <= 1


def test_two_prompts_never_fall_into_one_half() -> None:
    for name in "abcdefgh":
        single = [*suite_of("1", category=name).prompts, *suite_of("2", category=f"{name}2").prompts]
        assert [len(half.prompts) for half in Suite("s", tuple(single), "").halves()] == [1, 1]
    assert sorted(len(half.prompts) for half in suite_of("1").halves()) == [0, 1]
