"""What a step decodes: within the batch, every answer a token further, drafts as far as rows of logits reach."""

from hypothesis import given
from hypothesis import strategies as st

from evaluators.generation.batches import plan_batch, to_arrays
from evaluators.generation.draft import FIRST_REACH, SHORTEST_REACH, Draft
from evaluators.generation.sequence import AnswerSequence
from evaluators.generation.shape import BatchShape


def sequence(slot: int, prompt: int, decoded: int, draft: int, allowed: int = 500) -> AnswerSequence:
    made = AnswerSequence(slot, slot, list(range(prompt)), allowed, Draft(range(draft)), stop_loops=True)
    made.decoded = min(decoded, prompt - 1)
    return made


def shape(sequences: int, *, n_batch: int = 2048, n_outputs: int = 256, draft_tokens: int = 128) -> BatchShape:
    return BatchShape(4096, n_batch, n_batch, sequences, n_outputs, draft_tokens)


states = st.tuples(st.integers(1, 300), st.integers(0, 300), st.integers(0, 200), st.integers(1, 300))


@given(st.lists(states, min_size=1, max_size=8), st.integers(8, 256), st.integers(0, 64), st.integers(0, 64))
def test_a_step_fits_its_shape_and_no_answer_waits(
    given_states: list[tuple[int, int, int, int]], n_batch: int, more_outputs: int, draft_tokens: int
) -> None:
    active = [sequence(slot, *state) for slot, state in enumerate(given_states)]
    parts = plan_batch(
        active, shape(8, n_batch=n_batch, n_outputs=min(n_batch, 8 + more_outputs), draft_tokens=draft_tokens)
    )
    arrays = to_arrays(parts)
    assert 0 < arrays.tokens.size <= n_batch
    assert arrays.outputs.sum() == sum(part.outputs for part in parts) <= min(n_batch, 8 + more_outputs)
    assert all(len(part.proposed) <= draft_tokens for part in parts)
    moved = {id(part.sequence) for part in parts}
    assert all(id(each) in moved for each in active if each.pending == 1)


def test_a_prompt_is_decoded_with_its_draft() -> None:
    part = plan_batch([sequence(0, prompt=100, decoded=0, draft=40)], shape(1))[0]
    assert (part.taken, part.proposed, part.outputs) == (100, list(range(40)), 41)


def test_drafts_share_the_rows_of_logits() -> None:
    active = [sequence(slot, prompt=10, decoded=9, draft=60) for slot in range(3)]
    parts = plan_batch(active, shape(3, n_outputs=80))
    assert [len(part.proposed) for part in parts] == [60, 17, 0]


def test_a_draft_that_holds_is_tried_further_and_one_that_fails_less_far() -> None:
    draft = Draft(range(1000))
    assert len(draft.propose(500)) == FIRST_REACH
    draft.judge(FIRST_REACH, FIRST_REACH)
    assert len(draft.propose(500)) == 2 * FIRST_REACH
    draft.judge(20, 20)  # fewer than it would have proposed: that says nothing about the next
    assert len(draft.propose(500)) == 2 * FIRST_REACH
    draft.judge(2 * FIRST_REACH, 3)
    assert len(draft.propose(500)) == SHORTEST_REACH
