"""BentoML on the same graph, in its own environment. Started by bench/serving.py as `bentoml serve bento_server:Classifier`."""

import bentoml
import numpy as np
from bentoml.exceptions import InvalidArgument
from decoding import decode, open_graph
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

session = open_graph(1)


async def predict(request: Request) -> JSONResponse:
    try:
        image = decode(await request.body())
    except OSError as broken:
        raise InvalidArgument(str(broken)) from None
    return JSONResponse({"probabilities": session.run(["probabilities"], {"images": np.ascontiguousarray(image[None])})[0][0].tolist()})


@bentoml.asgi_app(Starlette(routes=[Route("/predict", predict, methods=["POST"])]))
@bentoml.service(workers=2)
class Classifier:
    pass
