"""Simulated pairs of classifiers with known accuracies, for the gate's error rates."""

import numpy as np

from components.validation_gate.answers import Answers

#: Spread of the margins (log-odds of the true class): concordant images lie far from the boundary, discordant ones near it.
FAR, NEAR, WOBBLE = (2.5, 1.0), 0.8, 0.15


def first_margins(rng: np.random.Generator, n: int, accuracy: float) -> np.ndarray:
    """Margins of a model that has each image right with probability `accuracy`; float (n,), right where positive."""
    right = rng.random(n) < accuracy
    return np.where(right, 1, -1) * np.abs(rng.normal(*FAR, n))


def next_margins(rng: np.random.Generator, margins: np.ndarray, accuracy: float, difference: float, psi: float) -> np.ndarray:
    """Margins of a second model whose true accuracy lies `difference` above the first's, discordant on a share `psi`.

    Args:
        margins: of the first, (n,).
        accuracy: the first's true accuracy.
        difference: in [-psi, psi].
        psi: share of images on which exactly one is right.
    """
    right = margins > 0
    flips = np.where(right, (psi - difference) / 2 / accuracy, (psi + difference) / 2 / (1 - accuracy))
    flipped = rng.random(len(margins)) < flips
    wobbled = margins + rng.normal(0, WOBBLE, len(margins))
    kept = np.where(np.sign(wobbled) == np.sign(margins), wobbled, margins)
    return np.where(flipped, -np.sign(margins) * np.abs(rng.normal(0, NEAR, len(margins))), kept)


def answers(labels: np.ndarray, candidate: np.ndarray, champion: np.ndarray) -> Answers:
    """Two-class answers from margins."""
    return Answers(labels, probabilities(labels, candidate), probabilities(labels, champion))


def probabilities(labels: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """(n, 2): the true class gets the logistic function of the margin."""
    of_truth = 1 / (1 + np.exp(-margins))
    return np.column_stack([np.where(labels == 0, of_truth, 1 - of_truth), np.where(labels == 1, of_truth, 1 - of_truth)])


def pair(rng: np.random.Generator, n: int, *, accuracy: float, difference: float, psi: float) -> Answers:
    """Champion and candidate on n images of two equally frequent classes.

    Args:
        accuracy: the champion's.
        difference: the candidate's minus the champion's.
        psi: discordance.
    """
    labels = rng.integers(0, 2, n)
    champion = first_margins(rng, n, accuracy)
    return answers(labels, next_margins(rng, champion, accuracy, difference, psi), champion)
