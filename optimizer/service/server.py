"""The HTTP server around the application, which ends at once although pages hold event streams open."""

from types import FrameType

import uvicorn
from fastapi import FastAPI

from optimizer.service.context import Service
from optimizer.service.settings import ServiceSettings

CLOSING_SECONDS = 5
"""For answers under way, such as a download."""


class Server(uvicorn.Server):
    """Tells the readers of event streams to leave when it is asked to end, not when they have left."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        here = getattr(self.config.app.state, "service", None) if isinstance(self.config.app, FastAPI) else None
        if isinstance(here, Service):
            here.watchers.closing = True
        super().handle_exit(sig, frame)


def run_server(app: FastAPI, settings: ServiceSettings) -> None:
    """Until it is interrupted."""
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, log_level="warning", server_header=False,
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )  # fmt: skip
    Server(config).run()
