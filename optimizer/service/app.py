"""The application: routes, pages, files and errors put together over one folder of studies."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import plotly
from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from optimizer.service import docs_page, login, metrics, pages
from optimizer.service.audit import Audit
from optimizer.service.context import Service
from optimizer.service.description import describe
from optimizer.service.job_processes import Rules
from optimizer.service.notifier import Notifier
from optimizer.service.places import folders_of
from optimizer.service.problems import add_problem_handlers
from optimizer.service.routes import chunks, events, exports, health, models, runs, studies, trials
from optimizer.service.security import Guard
from optimizer.service.settings import ServiceSettings
from optimizer.service.supervisor import FOLDER, Supervisor

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def make_app(settings: ServiceSettings) -> FastAPI:
    """The service as an ASGI application; its store is open as long as it lives."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with settings.workplace.open_store() as store:
            rules = Rules(settings.running, program=settings.program)
            supervisor = Supervisor(settings.workplace, store, rules)
            audit = Audit(settings.workplace.studies / FOLDER / "audit.jsonl")
            here = Service(settings, store, supervisor, folders_of(settings.models), audit)
            app.state.service = here
            notifier = Notifier(settings.notify, here.views, settings.workplace.studies / FOLDER / "notified.json")
            supervisor.start()
            notifier.start()
            try:
                yield
            finally:
                here.watchers.closing = True
                notifier.close()
                supervisor.close()

    app = FastAPI(title="layerquant", version=version("layerquant"), lifespan=lifespan, docs_url=None, redoc_url=None)
    add_problem_handlers(app)
    api = APIRouter(prefix="/api")
    for module in (health, models, studies, trials, chunks, exports, events, runs):
        api.include_router(module.router)
    app.include_router(api)
    for module in (metrics, login, docs_page, pages):
        app.include_router(module.router)
    app.add_middleware(Guard, settings=settings)

    @app.get("/static/plotly.min.js", include_in_schema=False)
    def plotly_script() -> FileResponse:
        """Plotly's own file, as the installed package brings it."""
        return FileResponse(PLOTLY, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})

    describe(app)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    return app
