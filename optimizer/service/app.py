"""The application: routes, pages, files and errors put together over one folder of studies."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import plotly
from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from optimizer.service import pages
from optimizer.service.context import Service
from optimizer.service.problems import add_problem_handlers
from optimizer.service.routes import health, studies
from optimizer.service.settings import ServiceSettings

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def make_app(settings: ServiceSettings) -> FastAPI:
    """The service as an ASGI application; its store is open as long as it lives."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with settings.workplace.open_store() as store:
            app.state.service = Service(settings, store)
            yield

    app = FastAPI(title="layerquant", version=version("layerquant"), lifespan=lifespan, docs_url=None, redoc_url=None)
    add_problem_handlers(app)
    api = APIRouter(prefix="/api")
    for module in (health, studies):
        api.include_router(module.router)
    app.include_router(api)
    app.include_router(pages.router)

    @app.get("/static/plotly.min.js", include_in_schema=False)
    def plotly_script() -> FileResponse:
        """Plotly's own file, as the installed package brings it."""
        return FileResponse(PLOTLY, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})

    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    return app
