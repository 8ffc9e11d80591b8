"""The families of scenarios by name. Each takes uint8 images (N, H, W, C), severities (N,) and a generator."""

from collections.abc import Callable

import numpy as np

from driftloop.scenarios.blur import blur
from driftloop.scenarios.brightness import brightness
from driftloop.scenarios.contrast import contrast
from driftloop.scenarios.jpeg import jpeg
from driftloop.scenarios.new_site import new_site
from driftloop.scenarios.noise import noise
from driftloop.scenarios.occlusion import occlusion
from driftloop.scenarios.resolution import resolution
from driftloop.scenarios.rotation import rotation

Transform = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]

TRANSFORMS: dict[str, Transform] = {
    "blur": blur,
    "noise": noise,
    "brightness": brightness,
    "contrast": contrast,
    "jpeg": jpeg,
    "resolution": resolution,
    "rotation": rotation,
    "occlusion": occlusion,
    "new_site": new_site,
}
#: Families that change what is asked instead of how it looks.
PRIOR, UNSEEN_CLASS = "prior", "unseen_class"

FAMILIES = (*TRANSFORMS, PRIOR, UNSEEN_CLASS)
