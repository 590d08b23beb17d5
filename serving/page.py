"""The page at `/`: plain HTML, CSS and JavaScript from this package, nothing from anywhere else."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)
STATIC = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/")
async def page() -> FileResponse:
    """The console page."""
    return FileResponse(STATIC / "index.html", headers=HEADERS)


class Static(StaticFiles):
    """The page's files, never guessed at by a browser and checked anew after an upgrade."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """As StaticFiles, with the page's headers."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers.update(HEADERS)
        return response


def static_files() -> StaticFiles:
    """What is mounted at `/static`."""
    return Static(directory=STATIC)
