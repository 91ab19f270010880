"""An answer's own bookkeeping, without a model: drafts verified, ends, loops; and drafts that are found again."""

from evaluators.generation.draft import Draft
from evaluators.generation.sequence import LOOP_INTERVAL, AnswerSequence
from evaluators.generation.thinking import count_thinking_tokens

END = 99


def sequence(allowed: int = 2000, draft: Draft | None = None, *, stop_loops: bool = True) -> AnswerSequence:
    return AnswerSequence(0, 0, [1, 2, 3], allowed, draft, stop_loops=stop_loops)


def ends(token: int) -> bool:
    return token == END


def test_only_what_was_foretold_is_accepted() -> None:
    answer = sequence(draft=Draft([10, 11, 12, 13]))
    proposed = answer.propose(3)
    assert proposed == [10, 11, 12]
    answer.accept(proposed, [10, 11, 50, 13], ends)
    assert answer.answer.tolist() == [10, 11, 50]
    assert (answer.accepted, answer.decoded, answer.pending) == (2, 5, 1)  # 50 was chosen, and is not decoded yet
    assert answer.propose(3) == []


def test_the_end_token_is_no_part_of_the_answer() -> None:
    answer = sequence(draft=Draft([10, 11]))
    answer.accept([10, 11], [10, END, 12], ends)
    assert answer.answer.tolist() == [10]
    assert answer.stopped
    assert answer.finished


def test_nothing_is_proposed_for_the_last_token_allowed() -> None:
    answer = sequence(allowed=3, draft=Draft([10, 11, 12, 13]))
    assert answer.propose(8) == [10, 11]
    answer.accept([10, 11], [10, 11, 12], ends)
    assert answer.finished
    assert not answer.stopped
    assert answer.answer.tolist() == [10, 11, 12]


def loop(step: int, *, stop_loops: bool = True) -> list[int]:
    """A loop of period 20 after 30 other tokens, foretold `step` tokens at a time."""
    tokens = [*range(200, 230), *(list(range(20)) * 100)]
    answer = sequence(len(tokens), Draft(tokens), stop_loops=stop_loops)
    while not answer.finished:
        proposed = answer.propose(step)
        at = answer.length - 3
        answer.accept(proposed, tokens[at : at + len(proposed) + 1], ends)
    assert not answer.stopped
    return [int(token) for token in answer.answer]


def test_a_proven_loop_ends_the_answer_at_the_same_token_whatever_the_steps_are() -> None:
    one = loop(0)
    assert 30 + 256 <= len(one) < 30 + 256 + LOOP_INTERVAL
    assert loop(7) == loop(100) == one
    assert len(loop(7, stop_loops=False)) == 2030


def test_a_draft_is_taken_up_again_after_its_last_agreement() -> None:
    draft = Draft([1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 7, 8])
    for token in (1, 2, 3, 4, 5):
        assert draft.propose(1) == [token]
        draft.follow(token)
    draft.follow(9)
    assert draft.propose(4) == []
    for token in (1, 2, 3):
        draft.follow(token)
    assert draft.propose(4) == []
    draft.follow(4)
    assert draft.propose(4) == [7, 8]


def test_thinking_is_what_comes_before_the_final_answer() -> None:
    pieces = [b"<think>", b"hm\xc3", b"\xa4", b"</thi", b"nk>", b"42"]
    assert count_thinking_tokens(pieces, "Q:") == 5
    assert count_thinking_tokens(pieces[1:], "Q:<think>\n") == 4
    assert count_thinking_tokens(pieces[:3], "Q:") == 3
    assert count_thinking_tokens([b"hm", b"hm"], "Q:<think>\n") == 2
    assert count_thinking_tokens([b"42"], "Q:<think>\n</think>") == 0
    assert count_thinking_tokens([], "Q:<think>") == 0
    channels = [b"<|channel|>analysis<|message|>", b"hm", b"<|channel|>", b"final<|message|>", b"42"]
    assert count_thinking_tokens(channels, "Q:") == 2
