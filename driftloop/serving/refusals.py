"""What goes wrong with a request, as one sentence and the status that it has over HTTP; gRPC's code follows from that."""

from starlette.exceptions import HTTPException

from driftloop.dataset.decoding import UnreadableImage
from driftloop.serving.batching import NotReady, Overloaded

RETRY_AFTER = {"retry-after": "1"}
#: The errors that are a caller's, or of the moment: `refusal` says what of them he is told.
REFUSED = (HTTPException, UnreadableImage, Overloaded, NotReady)
#: Where the rest of a request is not read.
CLOSE = {"connection": "close"}
#: Under which a request is counted whose caller did not wait: nginx's, as HTTP has none.
CALLER_GONE = 499


def refusal(error: Exception) -> HTTPException:
    """What a caller is told of an error: nothing of paths, code or traces."""
    if isinstance(error, HTTPException):
        return error
    if isinstance(error, UnreadableImage):
        return HTTPException(422, str(error))
    if isinstance(error, Overloaded):
        return HTTPException(503, "more requests than this replica can answer; try again in a moment", RETRY_AFTER)
    if isinstance(error, NotReady):
        return HTTPException(503, "no model answers yet: none is promoted, or the store is away; try again later", RETRY_AFTER)
    return HTTPException(500, "an error of the service; it is in its log")
