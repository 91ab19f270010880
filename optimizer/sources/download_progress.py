"""huggingface_hub's progress, shown by the project's own reporter."""

from typing import Any

from huggingface_hub.utils import tqdm

from optimizer.progress import Reporter


def progress_bar(reporter: Reporter) -> type[Any]:
    """A tqdm class that draws nothing and passes bytes on; of several bars (xet has two) the furthest counts."""
    furthest = 0

    class Bar(tqdm):  # type: ignore[misc, unused-ignore]
        def __init__(self, *arguments: Any, initial: int = 0, **settings: Any) -> None:
            super().__init__(*arguments, **{**settings, "disable": True})  # type: ignore[no-untyped-call]
            self._done = initial

        def update(self, n: float | None = 1) -> None:
            nonlocal furthest
            self._done += int(n or 0)
            if self._done > furthest:
                furthest = self._done
                reporter.advance(furthest)

    return Bar
