"""Where an image was taken: the same anatomy looks different under another scanner or camera."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Site:
    """How a site's device renders a scene whose brightness lies in [0, 1]."""

    name: str
    gain: tuple[float, float] = (0.85, 1.25)
    """Range of the exposure's factor."""
    offset: tuple[float, float] = (-0.02, 0.06)
    """Range of the fog that is added."""
    gamma: tuple[float, float] = (0.75, 1.3)
    """Range of the tone curve's exponent."""
    noise: tuple[float, float] = (0.010, 0.030)
    """Range of the noise's standard deviation at full brightness."""
    view: float = 1.0
    """Share of the scene's side that is seen; below 1 the device crops closer."""
    sharpness: float = 1.0
    """Share of the native resolution that the device resolves, in (0, 1]."""
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors of red, green and blue; a grey device has no use for them."""


HOME_SITE = Site("home")
#: A harder-exposed, noisier, softer device with a narrower field of view.
OTHER_SITE = Site(
    "other",
    gain=(0.75, 1.0),
    offset=(0.05, 0.14),
    gamma=(0.6, 0.9),
    noise=(0.035, 0.065),
    view=0.88,
    sharpness=0.6,
    cast=(1.06, 1.0, 0.90),
)
SITES = {site.name: site for site in (HOME_SITE, OTHER_SITE)}


def expose(scene: np.ndarray, site: Site, rng: np.random.Generator) -> np.ndarray:
    """Render a scene, float32 (H, W) or (H, W, 3) in [0, 1], as the site's device does: uint8, same channels.

    Noise grows with brightness, as photon noise does.
    """
    scene = _soften(_crop(scene, site.view), site.sharpness)
    scene = scene * np.float32(rng.uniform(*site.gain)) + np.float32(rng.uniform(*site.offset))
    np.clip(scene, 0, 1, out=scene)
    scene **= np.float32(rng.uniform(*site.gamma))
    deviation = np.sqrt(scene + np.float32(0.15)) * np.float32(rng.uniform(*site.noise))
    scene += rng.standard_normal(scene.shape, dtype=np.float32) * deviation
    if scene.ndim == 3:
        scene *= np.asarray(site.cast, np.float32)
    return (np.clip(scene, 0, 1) * 255).astype(np.uint8)


def _crop(scene: np.ndarray, view: float) -> np.ndarray:
    height, width = scene.shape[:2]
    top, left = round(height * (1 - view) / 2), round(width * (1 - view) / 2)
    return scene[top : height - top, left : width - left]


def _soften(scene: np.ndarray, sharpness: float) -> np.ndarray:
    """Lose what lies beyond the device's resolution: down and up again."""
    if sharpness >= 1:
        return scene.copy()
    height, width = scene.shape[:2]
    small = (max(8, round(width * sharpness)), max(8, round(height * sharpness)))

    def channel(plane: np.ndarray) -> np.ndarray:
        image = Image.fromarray(np.ascontiguousarray(plane))
        return np.asarray(image.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BILINEAR))

    if scene.ndim == 2:
        return channel(scene).copy()
    return np.stack([channel(scene[..., index]) for index in range(scene.shape[-1])], axis=-1)
