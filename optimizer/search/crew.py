"""Several evaluations at a time: threads that wait for the scorer, while everything is decided and written by one.

With one slot nothing runs beside the caller, who does the work itself.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from optimizer.search.context import StopRequested
from optimizer.search.scoring import Scorer

LOOK_SECONDS = 0.5
"""How often the caller looks for new slots, and for a Ctrl-C."""
MOST = 1024

Work = TypeVar("Work")
Result = TypeVar("Result")


class Crew(Generic[Work, Result]):
    """`begin` is asked, with the number under way, for the next piece of work, or None: nothing now; it may raise
    StopRequested. `do` runs in the threads. `end` is told every result, and may give work to be done before that piece
    has ended; `begin` and `end` run in the caller's thread.
    """

    def __init__(
        self,
        scorer: Scorer,
        begin: Callable[[int], Work | None],
        do: Callable[[Work], Result],
        end: Callable[[Work, Result], Work | None],
        *,
        most: int = MOST,
    ) -> None:
        self._scorer, self._begin, self._do, self._end, self._most = scorer, begin, do, end, most

    def run(self) -> None:
        """Until nothing is under way and there is nothing to begin. A request to stop lets what is under way end.

        Any other error ends what is under way as well, at once.
        """
        while self._most == 1 or self._scorer.slots == 1:
            work = self._begin(0)
            if work is None:
                return
            while work is not None:
                work = self._end(work, self._do(work))
        pool = ThreadPoolExecutor(self._most, thread_name_prefix="trial")
        try:
            self._run_in(pool)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            self._scorer.abandon()
            raise
        finally:
            pool.shutdown()

    def _run_in(self, pool: ThreadPoolExecutor) -> None:
        under_way: dict[Future[Result], Work] = {}
        stop: StopRequested | None = None
        while True:
            while stop is None and len(under_way) < min(self._scorer.slots, self._most):
                try:
                    work = self._begin(len(under_way))
                except StopRequested as request:
                    stop = request
                    break
                if work is None:
                    break
                under_way[pool.submit(self._do, work)] = work
            if not under_way:
                if stop is not None:
                    raise stop
                return
            done, _ = wait(under_way, LOOK_SECONDS, FIRST_COMPLETED)
            for future in [each for each in under_way if each in done]:  # of several, the earliest begun goes first
                again = self._end(under_way.pop(future), future.result())
                if again is not None:
                    under_way[pool.submit(self._do, again)] = again


def in_parallel(
    scorer: Scorer,
    items: list[Work],
    do: Callable[[Work], Result],
    *,
    before: Callable[[int], None] = lambda index: None,
    after: Callable[[int], None] = lambda done: None,
) -> list[Result]:
    """`do` of every item, in the items' order. before: called with an item's index before it begins; after: with the
    number that have ended.
    """
    results: dict[int, Result] = {}
    waiting = iter(range(len(items)))

    def begin(_: int) -> int | None:
        index = next(waiting, None)
        if index is not None:
            before(index)
        return index

    def end(index: int, result: Result) -> None:
        results[index] = result
        after(len(results))

    Crew(scorer, begin, lambda index: do(items[index]), end).run()
    return [results[index] for index in range(len(items))]
