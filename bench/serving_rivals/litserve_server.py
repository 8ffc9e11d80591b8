"""LitServe on the same graph, in its own environment. Started by bench/serving.py."""

import sys

import litserve as ls
import numpy as np
from decoding import decode, open_graph
from fastapi import Request


class Api(ls.LitAPI):
    """Two workers, each with a session of one thread; batches of what has come within 2 ms."""

    def setup(self, device: str) -> None:
        self.session = open_graph(1)

    # LitServe goes by the annotation: what it hands over for a Request with a form is the form.
    def decode_request(self, request: Request) -> np.ndarray:
        return decode(request["image"].file.read())

    def batch(self, inputs: list) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(["probabilities"], {"images": x})[0]

    def unbatch(self, output: np.ndarray) -> list:
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict:
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    server = ls.LitServer(Api(max_batch_size=16, batch_timeout=0.002), accelerator="cpu", workers_per_device=2)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="error", generate_client_file=False, num_api_servers=1)
