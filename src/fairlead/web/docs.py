"""`/docs`: a page that shows the API. It is public and holds nothing; what it shows needs a token.

The shell and its assets are served from here, so the page works offline and under a policy that allows no
other source and nothing inline. Swagger UI comes from the package fastapi-swagger, which brings the files of
npm's swagger-ui-dist.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from fairlead.core.admission import DOCS_ASSETS

_OURS: Final = Path(__file__).with_name("assets")
_SWAGGER: Final = Path(str(files("fastapi_swagger"))) / "resources"
_TYPES: Final = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def docs_router() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def get_docs() -> Response:
        return _file(_OURS / "docs.html", "no-cache")

    for name in DOCS_ASSETS:
        folder = _SWAGGER if name.startswith("swagger-ui") else _OURS
        router.add_api_route(f"/docs/assets/{name}", _endpoint(folder / name), methods=["GET"])
    return router


def _endpoint(path: Path) -> Callable[[], Awaitable[Response]]:
    async def get_asset() -> Response:
        return _file(path, "max-age=3600")

    return get_asset


def _file(path: Path, cache_control: str) -> Response:
    headers = {
        "content-security-policy": _CONTENT_SECURITY_POLICY,
        "cache-control": cache_control,
        "vary": "Origin",
    }
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=headers)
