"""Simulated visitors: each brings the service a new synthetic image, which the chosen drift has gone over."""

import io
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from components.traffic_replay.client import ServiceClient, as_png
from driftloop.dataset import Description
from driftloop.dataset.decoding import decode_image
from driftloop.errors import DriftloopError
from driftloop.evaluation.intervals import wilson
from driftloop.scenarios import parse
from driftloop.synthetic import draw
from driftloop.synthetic.kaggle_layout import JPEG_QUALITY

#: Images drawn and sent together, connections, and answers of a point of the accuracy's curve.
CHUNK, CONNECTIONS, POINT = 8, 4, 50
#: Answers that a page shows, and those whose picture is kept while it asks for them.
SHOWN, KEPT = 10, 2000
#: Points of the curve that it shows.
SHOWN_POINTS = 240
#: So far from the dataset's own series that no visitor brings an image of it.
SERIES = 500_009


@dataclass(frozen=True)
class Shown:
    """An answer, with the picture that it was given for."""

    request_id: str
    picture: bytes
    """PNG."""
    truth: str
    predicted: str
    confidence: float
    p_value: float
    """Of the image being like those that the model was accepted for."""


@dataclass
class AccuracyPoint:
    """Some answers in a row, all of one version."""

    seconds: float
    """Since the visitors came: when its last answer did."""
    version: str
    drift: float
    """Severity for the last of them."""
    right: int = 0
    answers: int = 0


class Visitors:
    """Ask the service, as fast as told, until they are closed."""

    def __init__(self, url: str, description: Description, *, kind: str, drift: str, seed: int) -> None:
        """Nobody comes before `start`.

        Args:
            url: of the service.
            description: of the champion's dataset: classes, image size.
            kind: of synthetic image, as in `driftloop.synthetic.SYNTHETIC_KINDS`.
            drift: kinds of drift without a severity, such as blur+noise.
            seed: of the visitors; they are never those of the dataset.
        """
        self._url, self._classes, self._side, self._kind = url, description.classes, description.image_size, kind
        self._drift, self._seed = drift, seed + SERIES
        self._channels, self._resize = description.channels, description.resize
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._began = time.monotonic()
        self.severity = 0.0
        self.rate = 0.0
        self.truth: dict[str, str] = {}
        self.pictures: deque[Shown] = deque(maxlen=KEPT)
        self.points: list[AccuracyPoint] = []
        self.moments: deque[float] = deque(maxlen=400)
        self.version = ""
        self.problem = ""
        self._thread = threading.Thread(target=self._ask, name="driftloop-visitors", daemon=True)

    def start(self, rate: float) -> None:
        """Let them come, `rate` a second."""
        self.rate = rate
        self._thread.start()

    def close(self) -> None:
        """Send them home; returns when the last has his answer."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def answered(self) -> int:
        """How many have their answer."""
        return len(self.truth)

    def snapshot(self) -> dict[str, object]:
        """What a page shows of them, as JSON values."""
        with self._lock:
            points = [
                vars(point) | wilson(point.right, point.answers).model_dump(include={"low", "high"})
                for point in self.points[-SHOWN_POINTS:]
            ]
            pictures, moments = list(self.pictures)[-SHOWN:], list(self.moments)
        recent = [moment for moment in moments if moment > time.monotonic() - 5]
        return {
            "answered": self.answered,
            "requests_per_second": len(recent) / 5,
            "version": self.version,
            "severity": self.severity,
            "points": points,
            "pictures": [{name: value for name, value in vars(shown).items() if name != "picture"} for shown in reversed(pictures)],
        }

    def picture(self, request_id: str) -> bytes | None:
        """The PNG of one of the last answers; None where it is gone."""
        with self._lock:
            return next((shown.picture for shown in self.pictures if shown.request_id == request_id), None)

    def _ask(self) -> None:
        number = 0
        try:
            with ServiceClient(self._url) as client, ThreadPoolExecutor(CONNECTIONS) as pool:
                while not self._stop.is_set():
                    began, rate, severity = time.monotonic(), self.rate, self.severity
                    if rate <= 0:
                        self._stop.wait(0.1)
                        continue
                    images, labels = self._images(number, severity)
                    self._note(list(pool.map(self._send, [client] * CHUNK, range(number, number + CHUNK), images, labels)), severity)
                    number += CHUNK
                    self._stop.wait(max(0.0, CHUNK / rate - (time.monotonic() - began)))
        except DriftloopError as error:
            self.problem = str(error)

    def _images(self, first: int, severity: float) -> tuple[np.ndarray, np.ndarray]:
        """The next visitors' images (n, H, W, C) as the model gets them, and their classes, who take turns as in the dataset."""
        labels = np.arange(first, first + CHUNK) % 2
        drawn = []
        for index, label in enumerate(labels, first):
            stream = io.BytesIO()
            Image.fromarray(draw(self._kind, seed=self._seed, index=index, label=int(label))).save(stream, "JPEG", quality=JPEG_QUALITY)
            pixels = decode_image(stream.getvalue(), self._side, self._resize).pixels
            drawn.append(pixels.reshape(self._side, self._side, self._channels))
        images = np.stack(drawn)
        if severity > 0:
            images, labels = parse(f"{self._drift}:{severity:.2f}").transform(images, labels, np.random.default_rng([self._seed, first]))
        return images, labels

    def _send(self, client: ServiceClient, number: int, image: np.ndarray, label: int) -> tuple[str, Shown]:
        """One visitor's answer, and the version that gave it."""
        name = f"demo-{self._seed}-{number}"
        answered = client.send(image, name, f"visitor-{number}", {})
        found = answered.prediction
        truth = self._classes[int(label)]
        return answered.version, Shown(name, as_png(image), truth, found["class"], found["confidence"], found["unusual"]["p_value"])

    def _note(self, answers: list[tuple[str, Shown]], severity: float) -> None:
        """Take the answers of a chunk, which were on their way together.

        While the service swaps its model, an answer of the old one can arrive behind one of the new: the version that answered last
        comes first, so that each swap is seen once.
        """
        with self._lock:
            for version, shown in sorted(answers, key=lambda answer: answer[0] != self.version):
                self.truth[shown.request_id] = shown.truth
                self.pictures.append(shown)
                self.moments.append(time.monotonic())
                last = self.points[-1] if self.points else None
                if last is None or last.answers >= POINT or last.version != version:
                    last = AccuracyPoint(0.0, version, severity)
                    self.points.append(last)
                last.seconds, last.drift = time.monotonic() - self._began, severity
                last.answers += 1
                last.right += shown.predicted == shown.truth
                self.version = version
