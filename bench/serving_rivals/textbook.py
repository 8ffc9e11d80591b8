"""The handler that courses show: FastAPI, PIL and a PyTorch model, one image a call. Started by bench/serving.py."""

import io
import os
import sys

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image

from driftloop.training.architectures import RESIDUAL, build_network

app = FastAPI()
side = int(os.environ["BENCH_SIDE"])
model = build_network(RESIDUAL, classes=2, channels=1).eval()


@app.post("/predict")
async def predict(request: Request) -> dict:
    image = Image.open(io.BytesIO(await request.body())).convert("L").resize((side, side))
    tensor = (torch.from_numpy(np.array(image)).float() / 255 - 0.5)[None, None] / 0.25
    with torch.no_grad():
        probabilities = torch.softmax(model(tensor), dim=1)[0]
    return {"class": int(probabilities.argmax()), "probabilities": probabilities.tolist()}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
