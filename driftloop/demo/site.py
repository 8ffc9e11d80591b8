"""The demo's page: what `Story.state` says, and its controls. It listens on this machine only."""

import socket
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from driftloop.demo.story import Story
from driftloop.errors import DriftloopError
from driftloop.serving.page import add_files

#: Names by which a browser may call it: another host's page that points its own name here is refused.
HOSTS = ["127.0.0.1", "localhost"]
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/demo.css": ("demo.css", "text/css; charset=utf-8"),
    "/demo.js": ("demo.js", "text/javascript; charset=utf-8"),
}


class Controls(BaseModel):
    """What a person may change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    severity: float | None = Field(None, ge=0, le=1)
    labelling: bool | None = None


def create_site(story: Story) -> FastAPI:
    """The application around a story. Controls take JSON alone, which no other site's form can send."""
    site = FastAPI(title="driftloop demo", docs_url=None, redoc_url=None, openapi_url=None)
    site.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)

    @site.get("/state")
    def state() -> dict[str, Any]:
        return story.state()

    @site.get("/picture/{request_id}")
    def picture(request_id: str) -> Response:
        found = story.visitors.picture(request_id) if story.visitors else None
        if found is None:
            raise HTTPException(404, "this picture is gone")
        return Response(found, media_type="image/png", headers={"Cache-Control": "max-age=600"})

    @site.post("/controls", status_code=204)
    def controls(wanted: Controls, request: Request) -> None:
        _only_json(request)
        if wanted.severity is not None:
            story.set_drift(wanted.severity)
        if wanted.labelling is not None:
            story.labelling = wanted.labelling

    @site.post("/rollback", status_code=204)
    def rollback(request: Request) -> None:
        _only_json(request)
        try:
            story.roll_back()
        except DriftloopError as error:
            raise HTTPException(409, str(error)) from None

    add_files(site.router, "driftloop.demo.page", FILES)
    return site


def _only_json(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send application/json")


class SiteThread:
    """The page, served beside the story as long as the context lasts."""

    def __init__(self, story: Story, port: int) -> None:
        """Listen, without answering yet.

        Raises:
            OSError: somebody listens on that port already.
        """
        self._socket = socket.create_server(("127.0.0.1", port))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(create_site(story), log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="driftloop-demo-page", daemon=True
        )

    def __enter__(self) -> "SiteThread":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
