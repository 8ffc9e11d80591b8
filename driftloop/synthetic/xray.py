"""Chest-X-ray-like images: NORMAL, PNEUMONIA, and a fluid level (EFFUSION) as the class that nobody trained on."""

import numpy as np

from driftloop.synthetic.chest import healthy_chest, lung_field, meet
from driftloop.synthetic.fields import bump, cloud, ellipse, inside
from driftloop.synthetic.site import Site, expose

CLASSES = ("NORMAL", "PNEUMONIA")
#: The opacities' contrast, in shares of the full range: the task's difficulty. Chosen so that at 64 px and 1,200 images a plain CNN
#: is clearly worse than a good recipe, and neither is perfect.
OPACITY = (0.08, 0.28)
#: Share of focal pneumonias; the others are diffuse.
FOCAL = 0.65


def xray(patient_rng: np.random.Generator, rng: np.random.Generator, label: int, site: Site) -> np.ndarray:
    """One radiograph, uint8 (H, W), about 150-200 pixels wide.

    Args:
        patient_rng: what the patient's anatomy is drawn from.
        rng: what this radiograph is drawn from: pose, finding, exposure, noise.
        label: 0 NORMAL, 1 PNEUMONIA, -1 EFFUSION.
        site: the scanner.
    """
    patient = meet(patient_rng)
    x, y = _pose(rng, patient.aspect, patient.size)
    lung = lung_field(patient, x, y)
    scene = healthy_chest(patient, x, y, lung)
    _add_vessels(scene, lung, rng)
    _add_tube(scene, x, y, rng)
    if label == 1:
        _add_pneumonia(scene, x, y, lung, rng)
    elif label == -1:
        _add_effusion(scene, x, y, rng)
    return expose(scene, site, rng)


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
