"""The least that HTTP costs in Python: uvicorn without a framework around what the bare loop does. Started by bench/serving.py.

A process on each core, each with a socket of its own on the port, as driftloop's service has them. Nothing is checked, counted or logged,
and nothing is predicted together.
"""

import json
import os
import sys
from pathlib import Path

import uvicorn

from driftloop.dataset.decoding import decode_image
from driftloop.inference.served_model import ServedModel
from driftloop.serving.processes import listen

sockets = listen("127.0.0.1", int(sys.argv[1]), os.cpu_count() or 1)
mine = next((socket for socket in sockets[1:] if not os.fork()), sockets[0])
side = int(os.environ["BENCH_SIDE"])
model = ServedModel.open(Path(os.environ["BENCH_MODEL"]).parent, threads=1)


async def predict(scope: dict, receive, send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    predictions = model.predict(decode_image(body, side).pixels[None, ..., None])
    answer = json.dumps({"probabilities": predictions.probabilities[0].tolist()}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


config = uvicorn.Config(predict, lifespan="off", log_level="critical", access_log=False, server_header=False, date_header=False)
uvicorn.Server(config).run(sockets=[mine])
