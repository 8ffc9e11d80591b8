"""Who is on which image: most patients have one, some of the training split two or three."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Visit:
    """One image of a split: the patient's number, which is unique across splits, the image's number for this patient, the class."""

    patient: int
    image: int
    label: int


def schedule(count: int, first_patient: int, *, seed: int, several: bool) -> list[Visit]:
    """`count` visits of patients numbered from `first_patient`, the classes taking turns by patient.

    Args:
        count: images.
        first_patient: number of the first patient.
        seed: of how many images each patient has.
        several: whether a tenth of the patients has two images and a twentieth three.
    """
    rng = np.random.default_rng([seed, first_patient])
    visits: list[Visit] = []
    patient = first_patient
    while len(visits) < count:
        images = int(rng.choice((1, 2, 3), p=(0.85, 0.10, 0.05))) if several else 1
        visits += [Visit(patient, image, patient % 2) for image in range(1, images + 1)]
        patient += 1
    return visits[:count]
