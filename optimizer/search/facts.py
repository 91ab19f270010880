"""What a search remembers from one run to the next: kept with the study (`stored_progress`), or by nobody."""

from typing import Any, Protocol


class Facts(Protocol):
    def keep(self, name: str, value: Any) -> None: ...

    def kept(self, name: str) -> Any:
        """None where nothing was kept under that name."""
        ...


class ForgottenFacts:
    """For work without a study."""

    def keep(self, name: str, value: Any) -> None:
        pass

    def kept(self, name: str) -> Any:
        return None
