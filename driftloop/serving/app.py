"""The service's web side: its paths, and how what goes wrong becomes one sentence and a status."""

import logging
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from driftloop import __version__
from driftloop.contracts import IMAGE_FORMATS
from driftloop.serving.batching import Job
from driftloop.serving.live_model import Answers
from driftloop.serving.middleware import HEADERS, Guard, Handler, check_key, problem
from driftloop.serving.open_inference import open_inference_router
from driftloop.serving.page import page_router
from driftloop.serving.refusals import REFUSED, RETRY_AFTER, refusal
from driftloop.serving.requests import MOST_GROUP_LENGTH, REQUEST_ID_OR_NONE, TAG_FIELD, read_request, read_small, unprocessable
from driftloop.serving.service import Service
from driftloop.serving.settings import GRPC_SERVER
from driftloop.spelling import named_class
from driftloop.tags import MOST_TAG_LENGTH, TAG_NAME

LOG = logging.getLogger("driftloop.serving")
#: The media types of the formats that are read.
IMAGE_TYPES = tuple(f"image/{name.lower()}" for name in IMAGE_FORMATS)
#: An id, a class and a number need much less.
MOST_FEEDBACK_BYTES = 8 << 10


class Unusualness(BaseModel):
    """How unusual the image looks against what the model was accepted for."""

    p_value: float = Field(description="of the image being like those of an accepted regime; small is unusual")
    statistic: str = Field(description="which says so most clearly: brightness, sharpness, ..., or appearance")
    value: float
    usual_low: float = Field(description="2.5 % of the reference lie below")
    usual_high: float = Field(description="2.5 % of the reference lie above")
    sentence: str


class Prediction(BaseModel):
    """What the model says of one image."""

    model_config = ConfigDict(populate_by_name=True)

    request_id: str = Field(description="by which a label can be given later")
    class_: str = Field(alias="class")
    confidence: float = Field(ge=0, le=1)
    probabilities: dict[str, float]
    unusual: Unusualness
    note: str = Field(description="what its sender may not expect, of what became of the image or of the class; empty: nothing")


class Predictions(BaseModel):
    """One prediction for each image, in their order."""

    version: str = Field(description="of the model that answered")
    predictions: list[Prediction]


class Label(BaseModel):
    """What an image really showed."""

    model_config = ConfigDict(extra="forbid")

    request_id: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,80}$")
    label: str = Field(min_length=1, max_length=200, pattern=r"\S", description="one of the model's classes")
    outcome: float | None = Field(None, allow_inf_nan=False, description="what became of it, in your own unit")


class Accepted(BaseModel):
    """How many labels were taken."""

    accepted: int


class Problem(BaseModel):
    """What was wrong."""

    detail: str


def create_app(service: Service, grpc_address: str = "") -> FastAPI:
    """The application around a service, which it starts and ends.

    Args:
        grpc_address: host:port, where the Open Inference Protocol is answered over gRPC as well; empty for nowhere.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        if grpc_address:
            from driftloop.serving.open_inference_grpc import GrpcServer  # grpcio is loaded only where it is asked for

            answering = await GrpcServer.start(service, grpc_address)
            yield {GRPC_SERVER: answering}
            await answering.ended()
        else:
            yield {}
        await run_in_threadpool(service.close)

    settings = service.settings
    app = FastAPI(
        title="driftloop", version=__version__, summary="Answers with the champion, and logs what it answered.", lifespan=lifespan,
        # To a path without its last slash callers would be sent by http, whatever the ingress speaks, and with their key.
        docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    direct: dict[str, Handler] = {}
    app.add_middleware(
        Guard,
        metrics=service.metrics,
        unanswered=service.unanswered,
        most_bytes=settings.most_request_mib << 20,
        upload_seconds=settings.upload_seconds,
        direct=direct,
    )
    problems: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (400, 401, 408, 413, 415, 422, 503)}
    file = {"type": "string", "format": "binary"}
    image = {"type": "array", "items": file, "minItems": 1}
    fields = {
        "image": image,
        "group": {"type": "string", "maxLength": MOST_GROUP_LENGTH},
        "request_id": {"type": "string", "pattern": REQUEST_ID_OR_NONE},
    }
    tag = {"type": "string", "minLength": 1, "maxLength": MOST_TAG_LENGTH}
    form = {
        "type": "object",
        "required": ["image"],
        "properties": fields,
        "patternProperties": {rf"^{re.escape(TAG_FIELD)}{TAG_NAME}$": tag},
        "additionalProperties": False,
    }
    body = {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            **{name: {"schema": file} for name in IMAGE_TYPES},
        },
    }

    # Keys are looked at by the handlers: a dependency of FastAPI costs the event loop a tenth more for each request.
    @app.post("/predict", response_model=Predictions, responses=problems, openapi_extra={"requestBody": body})
    async def predict(request: Request) -> Response:
        """Classify one image file or several: JPEG, PNG, WebP, TIFF or BMP."""
        check_key(settings.api_keys, request.headers)
        sent = await read_request(request, settings)
        answers = await service.predict(
            sent.images, group=sent.group, tags=sent.tags, request_ids=sent.request_ids, began=request.state.began
        )
        return JSONResponse({"version": answers[0][1].version, "predictions": [_prediction(*answer) for answer in answers]})

    direct["/predict"] = predict  # FastAPI describes it, and answers other methods

    given = {"required": True, "content": {"application/json": {"schema": Label.model_json_schema()}}}

    # Its body is read here: FastAPI would read a parameter's before the key is looked at.
    @app.post("/feedback", status_code=202, responses=problems, openapi_extra={"requestBody": given})
    async def feedback(request: Request) -> Accepted:
        """Say what an image really showed, by the id of its request."""
        check_key(settings.feedback_keys or settings.api_keys, request.headers)
        try:
            label = Label.model_validate_json(await read_small(request, MOST_FEEDBACK_BYTES))
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from None
        live = service.live
        classes = live.model.description.classes if live else []
        meant = named_class(label.label, classes) if classes else label.label
        if meant is None:
            raise unprocessable(f"label {label.label[:60]!r} is none of {', '.join(classes[:20])}")
        try:
            await run_in_threadpool(service.feedback.take, label.request_id, meant, label.outcome)
        except OSError as refused:
            LOG.error("a label could not be kept: %s", refused)
            raise HTTPException(503, "the label cannot be kept at the moment; try again later", RETRY_AFTER) from None
        service.metrics.feedback.inc()
        return Accepted(accepted=1)

    @app.get("/activity", responses={401: {"model": Problem}})
    async def activity(request: Request) -> dict[str, Any]:
        """What this replica did lately: what its page shows."""
        check_key(settings.api_keys, request.headers)
        return service.activity()

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics_text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.include_router(open_inference_router(service))
    app.include_router(page_router())
    _explain_errors(app)
    return app


_ALIKE = "every class counts alike in what is named: the class whose probability is highest against its share of the training images"
_CUT = "levels above {:,}, the highest that the model was trained on, were read as if these were that one"


def _prediction(job: Job, answers: Answers, index: int) -> dict[str, Any]:
    probabilities: list[float] = answers.predictions.probabilities[index].tolist()
    odd, label = answers.unusual[index], int(answers.predictions.labels[index])
    notes = [_CUT.format(job.live.model.description.deep_range)] if job.cut else []
    if answers.predictions.shares and probabilities[label] < max(probabilities):
        notes.append(_ALIKE)
    return {
        "request_id": job.request_id,
        "class": answers.classes[label],
        "confidence": probabilities[label],
        "probabilities": dict(zip(answers.classes, probabilities, strict=True)),
        "unusual": {
            "p_value": odd.p_value,
            "statistic": odd.statistic,
            "value": _finite(odd.value),
            "usual_low": _finite(odd.usual_low),
            "usual_high": _finite(odd.usual_high),
            "sentence": odd.sentence,
        },
        "note": "; ".join(notes),
    }


def _finite(number: float) -> float:
    """JSON knows no infinity."""
    return number if math.isfinite(number) else math.copysign(1e30, number)


def _explain_errors(app: FastAPI) -> None:
    """One sentence for every error; nothing of paths, code or traces."""

    async def refused(request: Request, error: Exception) -> Response:
        said = refusal(error)
        return problem(request.url.path, said.detail, said.status_code, said.headers)

    for kind in REFUSED:
        app.add_exception_handler(kind, refused)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")[:60]
        return problem(request.url.path, f"{where or 'the body'}: {first['msg']}", 422)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        # Starlette answers this one outside of every middleware, so that Guard does not see it.
        careful, said = {name.decode(): value.decode() for name, value in HEADERS}, refusal(error)
        return problem(request.url.path, said.detail, said.status_code, careful)
