"""What every handler of the service needs, made once when it starts."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from optimizer.service.problems import NotFound
from optimizer.service.settings import ServiceSettings
from optimizer.store import Store, StudyRecord


@dataclass(frozen=True)
class Service:
    settings: ServiceSettings
    store: Store

    def study(self, name: str) -> StudyRecord:
        """Raises NotFound."""
        found = self.store.find_study(name)
        if found is None:
            raise NotFound(f"there is no study {name}; GET /api/studies lists those there are")
        return found


def _service(request: Request) -> Service:
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


Here = Annotated[Service, Depends(_service)]
"""A handler's parameter of this type is the service."""
