"""What callers send, taken apart within limits: images as files, and what is known of them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from driftloop.contracts import IMAGE_FORMATS
from driftloop.serving.refusals import CLOSE
from driftloop.serving.settings import ServingSettings
from driftloop.spelling import composed
from driftloop.tags import tag_problem

_OF_REQUEST_IDS = "[A-Za-z0-9._:-]"
_REQUEST_ID = re.compile(_OF_REQUEST_IDS + "{1,64}")
#: The same as the interface describes it: an empty one is none.
REQUEST_ID_OR_NONE = f"^{_OF_REQUEST_IDS}{{0,64}}$"
MOST_GROUP_LENGTH = 200
#: How a tag comes: as a header, or as a field of a form or a parameter of the inference protocol; the name follows.
TAG_HEADER, TAG_FIELD = "x-tag-", "tag."
#: Tags of one request: those that the champion's source brought are tested, others are logged.
MOST_TAGS = 10
#: Fields of a form besides its images: each is short text.
MOST_FIELDS = MOST_TAGS + 8


@dataclass
class Sent:
    """A request for predictions."""

    images: list[bytes] = field(default_factory=list)
    group: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    request_ids: list[str] = field(default_factory=list)
    """One for each image, or none."""


def unprocessable(message: str) -> HTTPException:
    """The request is understood and cannot be answered; the caller is told why in a sentence."""
    return HTTPException(422, message)


async def read_request(request: Request, settings: ServingSettings) -> Sent:
    """The images of a form, or of a body that is an image itself, with group, tags and request id.

    Raises:
        HTTPException: 400, 413, 415 or 422, in one sentence.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    given: list[tuple[str, str]] = []
    if kind.startswith("image/") or kind == "application/octet-stream":
        images = [await request.body()]
    elif kind == "multipart/form-data":
        images, given = await _form(request, settings)
    else:
        raise HTTPException(
            415, "send the image as multipart/form-data in a field called image, or as a body with a Content-Type of image/*"
        )
    if not images or not all(images):
        raise unprocessable("no image in this request: send it in a field called image")
    sent = Sent(images=images)
    sent.group, sent.tags, name = about(request.headers, given)
    sent.request_ids = ids_of_images(name, len(images))
    return sent


async def read_small(request: Request, most_bytes: int) -> bytes:
    """The body of a request that has no reason to be large.

    Raises:
        HTTPException: 413.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most_bytes:
            raise HTTPException(413, f"the body is larger than {most_bytes >> 10} KiB", CLOSE)
    return body


def ids_of_images(name: str, count: int) -> list[str]:
    """The ids of a request's images by its own: that of a single one is the same. Empty where it has none."""
    if not name:
        return []
    return [name] if count == 1 else [f"{name}-{index + 1}" for index in range(count)]


def about(headers: Mapping[str, str], given: Iterable[tuple[str, str]] = ()) -> tuple[str | None, dict[str, str], str]:
    """Group, tags and request id, by form fields or headers; fields count where both are there.

    Raises:
        HTTPException: 422.
    """
    headers = _once((name.lower(), _text(name, value)) for name, value in headers.items() if _is_ours(name.lower()))
    fields = _once(given)
    group = fields.pop("group", headers.get("x-group", "")).strip()
    name = fields.pop("request_id", headers.get("x-request-id", "")).strip()
    tags = {key.removeprefix(TAG_HEADER): value.strip() for key, value in headers.items() if key.startswith(TAG_HEADER)}
    for key, value in fields.items():
        if not key.startswith(TAG_FIELD):
            raise unprocessable(f"field {key[:40]!r} is not known; known are image, group, request_id and tag.<name>")
        tags[key.removeprefix(TAG_FIELD)] = value.strip()  # as a header is
    tags = {key: composed(value) for key, value in tags.items()}  # as the levels of the champion's images are
    if len(group) > MOST_GROUP_LENGTH:
        raise unprocessable(f"group is longer than {MOST_GROUP_LENGTH} characters")
    if len(tags) > MOST_TAGS:
        raise unprocessable(f"{len(tags)} tags; a request may carry {MOST_TAGS}")
    for key, value in tags.items():
        problem = tag_problem(key, value)
        if problem:
            raise unprocessable(problem)
    return group or None, tags, request_id(name) if name else ""


def _once(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names and values. One that comes twice is refused: whoever gives each image of a request its own would get the last for all."""
    once: dict[str, str] = {}
    for name, value in given:
        if once.setdefault(name, value) != value:
            raise unprocessable(f"{name[:40]} is given twice; it is of the whole request: send images that differ in it apart")
    return once


def _is_ours(name: str) -> bool:
    return name in ("x-group", "x-request-id") or name.startswith(TAG_HEADER)


def _text(name: str, value: str) -> str:
    """A header as it was sent: in UTF-8, which the server has read as Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        raise unprocessable(f"{name}: not UTF-8") from None


def request_id(given: object) -> str:
    """What a caller calls its request: what the log keeps, and what /feedback takes.

    Raises:
        HTTPException: 422.
    """
    if not isinstance(given, str) or not _REQUEST_ID.fullmatch(given):
        raise unprocessable("a request id has 1 to 64 letters, digits and . _ : -")
    return given


async def _form(request: Request, settings: ServingSettings) -> tuple[list[bytes], list[tuple[str, str]]]:
    """Images and text fields; a form that cannot be read, or is beyond these limits, is answered by Starlette with 400 and a sentence."""
    images, fields = [], []
    async with request.form(max_files=settings.most_images, max_fields=MOST_FIELDS, max_part_size=4096) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "image":
                    raise unprocessable(f"file field {name[:40]!r} is not known; images come in fields called image")
                images.append(await value.read())
            elif name == "image":
                raise unprocessable(f"the field image holds text; send a file ({', '.join(IMAGE_FORMATS)})")
            else:
                fields.append((name, value))
    return images, fields
