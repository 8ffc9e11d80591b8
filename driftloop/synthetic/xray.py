"""Chest-X-ray-like images: NORMAL, PNEUMONIA, and a fluid level (EFFUSION) as the class that nobody trained on.

A patient's anatomy is drawn once; each radiograph adds pose, vessels, findings, exposure and noise. Coordinates x and y run from -1 to 1
over the image, y downwards.
"""

from dataclasses import dataclass

import numpy as np

from driftloop.contracts import UNSEEN
from driftloop.synthetic.shapes import bump, cloud, ellipse, inside
from driftloop.synthetic.site import Site, expose

XRAY_CLASSES = ("NORMAL", "PNEUMONIA")
#: The opacities' contrast, in shares of the full range: the task's difficulty. Chosen so that at 64 px and 1,200 images a plain CNN
#: is clearly worse than a good recipe, and neither is perfect.
OPACITY = (0.08, 0.28)
#: Share of focal pneumonias; the others are diffuse.
FOCAL = 0.65


@dataclass(frozen=True)
class Patient:
    """What stays the same on all radiographs of one patient; lengths in half image sides."""

    size: float
    """Factor on the whole anatomy."""
    lungs: tuple[tuple[float, float, float, float], tuple[float, float, float, float]]
    """Of the left and the right lung: centre x and y, radius across and along."""
    lung_air: float
    """How much darker than the body the lungs are."""
    heart: tuple[float, float]
    """Centre x and radius across."""
    hila: tuple[tuple[float, float], tuple[float, float]]
    """Of the vessels' roots on the left and on the right: brightness and centre y."""
    ribs: tuple[float, float, float, float]
    """Rate, phase, bend and brightness of the stripes."""
    collarbones: tuple[float, float]
    """Vertical offsets, left and right."""
    soft_tissue: float
    """Brightness of tissue over the bases, 0 for none."""
    nodules: tuple[tuple[float, float, float, float], ...]
    """Of each: centre x and y, radius, brightness."""
    aspect: float
    """Width of the image by its height."""


def xray(patient_rng: np.random.Generator, rng: np.random.Generator, label: int, site: Site) -> np.ndarray:
    """One radiograph, uint8 (H, W), about 150-200 pixels wide.

    Args:
        patient_rng: what the patient's anatomy is drawn from.
        rng: what this radiograph is drawn from: pose, finding, exposure, noise.
        label: 0 NORMAL, 1 PNEUMONIA, UNSEEN (an effusion).
        site: the scanner.
    """
    patient = draw_patient(patient_rng)
    x, y = _pose(rng, patient.aspect, patient.size)
    lung = lung_field(patient, x, y)
    scene = healthy_chest(patient, x, y, lung)
    _add_vessels(scene, lung, rng)
    _add_tube(scene, x, y, rng)
    if label == 1:
        _add_pneumonia(scene, x, y, lung, rng)
    elif label == UNSEEN:
        _add_effusion(scene, x, y, rng)
    return expose(scene, site, rng)


def draw_patient(rng: np.random.Generator) -> Patient:
    """A patient drawn at random."""
    sides = (-1, 1)
    lungs = [
        (side * (0.42 + rng.normal(0, 0.02)), rng.normal(-0.08, 0.02), rng.normal(0.30, 0.02), rng.normal(0.66, 0.04)) for side in sides
    ]
    hila = [(rng.uniform(0.05, 0.12), rng.normal(-0.02, 0.04)) for _ in sides]
    count = int(rng.integers(1, 4)) if rng.random() < 0.36 else 0
    nodules = tuple(
        (rng.choice(sides) * rng.uniform(0.25, 0.6), rng.uniform(-0.5, 0.4), rng.uniform(0.015, 0.04), rng.uniform(0.05, 0.15))
        for _ in range(count)
    )
    return Patient(
        size=rng.uniform(0.9, 1.1),
        lungs=(lungs[0], lungs[1]),
        lung_air=rng.uniform(0.26, 0.36),
        heart=(rng.normal(0.12, 0.03), rng.normal(0.30, 0.04)),
        hila=(hila[0], hila[1]),
        ribs=(rng.uniform(9, 12), rng.uniform(0, 6.28), rng.uniform(0.45, 0.75), rng.uniform(0.03, 0.06)),
        collarbones=(rng.normal(0, 0.02), rng.normal(0, 0.02)),
        soft_tissue=rng.uniform(0.02, 0.08) if rng.random() < 0.6 else 0.0,
        nodules=nodules,
        aspect=rng.uniform(0.95, 1.2),
    )


def lung_field(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where there is lung, (H, W) in [0, 1]."""
    field = sum(
        inside(ellipse(x, y, (cx, cy), (rx, ry), side * 0.08), 1 / 7) for side, (cx, cy, rx, ry) in zip((-1, 1), patient.lungs, strict=True)
    )
    return np.minimum(field, 1)


def healthy_chest(patient: Patient, x: np.ndarray, y: np.ndarray, lung: np.ndarray) -> np.ndarray:
    """The radiograph's brightness (H, W), about 0 to 1, without exposure or noise."""
    scene = _body(x, y) - lung * np.float32(patient.lung_air)
    _add_mediastinum(scene, patient, x, y)
    scene += _ribs(patient, x, y) * (lung * np.float32(0.8) + np.float32(0.2))
    _add_collarbones(scene, patient, x, y)
    _add_benign_findings(scene, patient, x, y)
    return scene


def _body(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Trunk and shoulders, brighter below the diaphragm."""
    out = np.abs(x)
    shoulders = np.float32(-1.02) + np.float32(0.34) * out - y
    body = np.float32(0.275) - np.float32(0.275) * np.tanh(np.maximum(out - np.float32(0.88), shoulders) * np.float32(9))
    return body + np.float32(0.04) * np.tanh((y - np.float32(0.6)) * np.float32(6)) * body


def _add_mediastinum(scene: np.ndarray, patient: Patient, x: np.ndarray, y: np.ndarray) -> None:
    """Heart, spine and the vessels' roots."""
    at, radius = patient.heart
    scene += np.float32(0.22) * inside(ellipse(x, y, (at, 0.28), (radius, 0.36), 0.4), 1 / 6)
    scene += np.float32(0.10) * np.exp(-np.square(x * np.float32(9)))
    for side, (amount, height) in zip((-1, 1), patient.hila, strict=True):
        scene += np.float32(amount) * bump(ellipse(x, y, (side * 0.2, height), (0.10, 0.18), side * 0.5))


def _ribs(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Stripes along a bent vertical coordinate."""
    rate, phase, bend, amount = patient.ribs
    out = np.abs(x)
    bent = y + np.float32(bend) * np.square(out - np.float32(0.35)) - np.float32(0.25) * out
    return np.float32(amount) * np.maximum(np.sin(bent * np.float32(1.9 * rate) + np.float32(phase)), np.float32(-0.2))


def _add_collarbones(scene: np.ndarray, patient: Patient, x: np.ndarray, y: np.ndarray) -> None:
    """Only the rows that hold them are touched."""
    rows = np.flatnonzero(np.abs(y[:, 0] + 0.66) < 0.4)
    top, bottom = rows[0], rows[-1] + 1
    x, y = x[top:bottom], y[top:bottom]
    for side, offset in zip((-1, 1), patient.collarbones, strict=True):
        line = y - (np.float32(-0.68 + offset) + np.float32(0.12 * side) * x)
        scene[top:bottom] += np.float32(0.08) * np.exp(-np.square(line * np.float32(18))) * (x * side > np.float32(0.1))


def _add_benign_findings(scene: np.ndarray, patient: Patient, x: np.ndarray, y: np.ndarray) -> None:
    """Findings of both classes: soft tissue over the bases, small nodules."""
    if patient.soft_tissue:
        for side in (-1, 1):
            scene += np.float32(patient.soft_tissue) * inside(ellipse(x, y, (side * 0.45, 0.45), (0.35, 0.28)), 1 / 5)
    for cx, cy, radius, amount in patient.nodules:
        scene += np.float32(amount) * bump(ellipse(x, y, (cx, cy), (radius, radius)))


def _pose(rng: np.random.Generator, aspect: float, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in the patient's frame, x (H, W) and y (H, 1): tilted, off centre, nearer or farther."""
    height = int(rng.integers(150, 168))
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, int(height * aspect), dtype=np.float32)[None, :]
    x = x + y * np.float32(rng.normal(0, 0.03)) + np.float32(rng.normal(0, 0.04))
    y = y + np.float32(rng.normal(0, 0.04))
    scale = np.float32(1 / (size * rng.uniform(0.97, 1.03)))
    return x * scale, y * scale


def _add_vessels(scene: np.ndarray, lung: np.ndarray, rng: np.random.Generator) -> None:
    texture = np.float32(0.5) * cloud(rng, scene.shape, 9) + np.float32(0.35) * cloud(rng, scene.shape, 22)
    scene += lung * texture * np.float32(rng.uniform(0.02, 0.05) * 1.1)


def _add_tube(scene: np.ndarray, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> None:
    """A catheter on a quarter of the images, of either class."""
    if rng.random() < 0.24:
        at, lean, end = rng.uniform(-0.3, 0.3), rng.normal(0, 0.2), rng.uniform(-0.3, 0.5)
        line = np.square((x - np.float32(at) - np.float32(lean) * y) * np.float32(60))
        scene += np.float32(0.15) * np.exp(-line) * (y < end)


def _add_pneumonia(scene: np.ndarray, x: np.ndarray, y: np.ndarray, lung: np.ndarray, rng: np.random.Generator) -> None:
    contrast = rng.uniform(*OPACITY)
    if rng.random() < FOCAL:
        scene += np.float32(contrast) * lung * _focal(x, y, scene.shape, rng)
    else:
        scene += np.float32(0.75 * contrast) * lung * _diffuse(y, scene.shape, rng)


def _focal(x: np.ndarray, y: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """One to three mottled patches."""
    patches = np.zeros(shape, np.float32)
    for _ in range(rng.integers(1, 4)):
        centre = (rng.choice((-1, 1)) * rng.uniform(0.28, 0.55), rng.uniform(-0.45, 0.45))
        radius = rng.uniform(0.09, 0.22)
        patch = bump(ellipse(x, y, centre, (radius, radius * rng.uniform(0.7, 1.4)), rng.uniform(0, 3)))
        np.maximum(patches, patch, out=patches)
    return patches * np.clip(1 + np.float32(0.45) * cloud(rng, shape, 14), 0, 2)


def _diffuse(y: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A patchy field over both lungs, denser towards the bases."""
    field = cloud(rng, shape, 7) + np.float32(0.7) * cloud(rng, shape, 16)
    return np.clip(field, 0, 2) * (np.float32(0.7) + np.float32(0.4) * y)


def _add_effusion(scene: np.ndarray, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> None:
    """Fluid at one base, with a level that rises towards the chest's wall."""
    side, level = rng.choice((-1, 1)), rng.uniform(0.0, 0.3)
    surface = np.float32(level) - np.float32(0.6) * np.square(np.maximum(x * side - np.float32(0.1), 0))
    fluid = np.float32(0.5) + np.float32(0.5) * np.tanh((y - surface) * np.float32(12))
    pleura = inside(ellipse(x, y, (side * 0.46, 0.05), (0.40, 0.80)), 1 / 7)
    scene += np.float32(rng.uniform(0.2, 0.3)) * fluid * pleura
