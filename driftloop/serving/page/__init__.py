"""The pages `/` and `/docs` of the service: files that need nothing from elsewhere, and a policy under which nothing else would load."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response

#: By path: the file and its type. The page finds the others, and the service, beside itself: it also works below a prefix.
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}
#: No script or style that stands in the page, no other host, no frame; images are those that the user chose.
POLICY = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # A new release's page must not run with the old one's script.
    "Cache-Control": "no-cache",
}


def page_router() -> APIRouter:
    """The pages and their files. They need no key; what they ask for does. `/docs` needs an app with `docs_url=None`."""
    router = APIRouter(include_in_schema=False)
    add_files(router, "driftloop.serving.page", FILES)
    return router


def add_files(router: APIRouter, package: str, paths: Mapping[str, tuple[str, str]]) -> None:
    """Serve files of a package under the policy above: path -> name and media type."""
    for path, (name, media_type) in paths.items():
        router.add_api_route(path, _file(package, name, media_type), methods=["GET", "HEAD"], response_class=Response)


def _file(package: str, name: str, media_type: str) -> Callable[[], Awaitable[Response]]:
    content = files(package).joinpath(name).read_bytes()

    async def answer() -> Response:
        return Response(content, media_type=media_type, headers=HEADERS)

    return answer
