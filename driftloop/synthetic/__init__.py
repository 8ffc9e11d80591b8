"""Procedural images with known labels, for demos, tests and rehearsals: chest X-rays (grey) and roofs from above (colour).

    image = draw("xray", seed=1, index=7, label=1)                     # uint8 (H, W)
    image = draw("xray", seed=1, index=7, label=1, site=OTHER_SITE)    # the same patient under another scanner
    image = draw("xray", seed=1, index=7, label=UNSEEN)                # a finding that no model was trained on

The same arguments give the same image on every machine. What is drawn are caricatures: nothing here says anything about medicine.
"""

from driftloop.contracts import UNSEEN
from driftloop.synthetic.drawing import SYNTHETIC_KINDS, draw
from driftloop.synthetic.kaggle_layout import GENERATOR_VERSION, SPLIT_SIZES, write_kaggle_layout
from driftloop.synthetic.site import HOME_SITE, OTHER_SITE, Site

__all__ = [
    "GENERATOR_VERSION",
    "HOME_SITE",
    "OTHER_SITE",
    "SPLIT_SIZES",
    "SYNTHETIC_KINDS",
    "UNSEEN",
    "Site",
    "draw",
    "write_kaggle_layout",
]
