"""What a window is compared with: the champion's accepted regimes, and the vectors of references and windows, one image a group.

A champion may carry up to five references, and a window may fit any mixture of them: a hospital whose second scanner was learned sends
images of both, and each alone would look like drift against the other. So the mixture that fits a window best is drawn from the
references, and the ordinary test asks whether even that is refuted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from components.drift_detection.clusters import Clusters, clusters_of
from components.drift_detection.mmd import around, location, mean_kernel, median_gamma
from driftloop.bundle import REFERENCE, SERVED_ACCURACY, SERVED_ACCURACY_OF, ModelDescription, read_model
from driftloop.contracts import GATE_EVIDENCE, LEAST_GROUPS, MOST_REGIMES, REGIME_WINDOWS
from driftloop.errors import InputError
from driftloop.evaluation.intervals import Proportion
from driftloop.inference.reference import CLEAN_REGIME, Regime, read_reference
from driftloop.inference.traffic import Traffic
from driftloop.schema import parse_json

#: Groups that a learned regime needs: windows of the fewest.
LEAST_LEARNED = REGIME_WINDOWS * LEAST_GROUPS


@dataclass(frozen=True)
class Sample:
    """N images as vectors, float32."""

    embedding: np.ndarray
    """(N, D)."""
    statistics: np.ndarray
    """(N, F), the image statistics."""
    probabilities: np.ndarray
    """(N, K), of the classes."""

    def __len__(self) -> int:
        return len(self.embedding)

    def take(self, rows: np.ndarray) -> "Sample":
        """The sample of these rows, in this order."""
        return Sample(self.embedding[rows], self.statistics[rows], self.probabilities[rows])

    def averaged(self, rows: np.ndarray) -> "Sample":
        """For each line of rows (G, k) the mean of these."""
        return Sample(*(part[rows].mean(axis=1, dtype=np.float64).astype(np.float32) for part in vars(self).values()))


def join_samples(samples: Sequence[Sample]) -> Sample:
    """The samples, one below the other."""
    return Sample(
        embedding=np.concatenate([sample.embedding for sample in samples]),
        statistics=np.concatenate([sample.statistics for sample in samples]),
        probabilities=np.concatenate([sample.probabilities for sample in samples]),
    )


def regime_sample(regime: Regime) -> tuple[Sample, np.ndarray]:
    """A regime with one image a group, and which of its rows (N,) those are.

    Images of one patient resemble each other; counting them as independent makes false alarms.
    """
    rows = first_of_each(regime.groups)
    sample = Sample(
        embedding=regime.embedding[rows].astype(np.float32),
        statistics=regime.statistics[rows].astype(np.float32),
        probabilities=regime.probabilities[rows].astype(np.float32),
    )
    _require_finite(sample, f"reference {regime.name}", [f"row {row}" for row in rows])
    return sample, rows


def window_sample(rows: pd.DataFrame) -> Sample:
    """The vectors of rows of the inference log.

    Raises:
        InputError: vectors of different lengths, or a number that is not finite; the message names the request.
    """
    ids = rows["request_id"].tolist()
    sample = Sample(
        embedding=_stack([np.frombuffer(data, dtype="<f2") for data in rows["embedding"]], ids, "embedding"),
        statistics=_stack(rows["statistics"], ids, "statistics"),
        probabilities=_stack(rows["probabilities"], ids, "probabilities"),
    )
    _require_finite(sample, "inference log", [f"request {name}" for name in ids])
    return sample


def first_of_each(groups: np.ndarray) -> np.ndarray:
    """The first row of each group, ascending; a row without a group (an empty name) is a group of its own."""
    _, first = np.unique(groups, return_index=True)
    return np.unique(np.concatenate([first, np.flatnonzero(groups == "")]))


def whole_regime(regime: Regime, kept: np.ndarray) -> tuple[Sample, Clusters]:
    """All images of a regime, and which of its rows (N,) belong to the groups that the `kept` ones stand for."""
    number = {regime.groups[row]: index for index, row in enumerate(kept) if regime.groups[row]}
    owners = np.array([number.get(group, -1) for group in regime.groups], np.int64)
    owners[kept] = np.arange(len(kept))
    sample = Sample(*(part.astype(np.float32) for part in (regime.embedding, regime.statistics, regime.probabilities)))
    return sample, clusters_of(owners, len(kept))


def _stack(vectors: Iterable[Sequence[float] | np.ndarray], ids: Sequence[str], what: str) -> np.ndarray:
    arrays = [np.asarray(vector, dtype=np.float32) for vector in vectors]
    for name, array in zip(ids, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise InputError(
                f"inference log: request {name}: {what} has {array.size} numbers where others of this version have {arrays[0].size}"
            )
    return np.stack(arrays)


def _require_finite(sample: Sample, where: str, names: Sequence[str]) -> None:
    for what, values in (("embedding", sample.embedding), ("statistics", sample.statistics), ("probabilities", sample.probabilities)):
        broken = ~np.isfinite(values).all(axis=1)
        if broken.any():
            raise InputError(
                f"{where}: {names[int(broken.argmax())]}: {what} holds a number that is not finite; the model must be repaired"
            )


@dataclass(frozen=True)
class KernelView:
    """One kind of vector, by which regimes are weighed with a Gaussian kernel."""

    centre: np.ndarray
    """(D,), where the coordinates begin."""
    scale: np.ndarray
    """(D,), their units."""
    gamma: float
    """Of the kernel exp(-gamma |x - y|^2)."""
    rows: list[np.ndarray]
    """The regimes in these coordinates."""
    inner: np.ndarray
    """(R, R), the mean kernels between and within regimes."""

    def towards(self, vectors: np.ndarray) -> np.ndarray:
        """The mean kernel of a window's vectors (M, D) with each regime: (R,)."""
        placed = around(self.centre, vectors) / self.scale
        return np.array([mean_kernel(placed, rows, self.gamma).mean() for rows in self.rows])


@dataclass(frozen=True)
class Regimes:
    """The accepted regimes, ready for many windows."""

    names: tuple[str, ...]
    """The clean reference's first."""
    samples: tuple[Sample, ...]
    """One image a group."""
    embedding: KernelView
    """For weighing them by embeddings."""
    statistics: KernelView
    """For weighing them by image statistics."""
    whole: tuple[tuple[Sample, Clusters], ...] = ()
    """All images of each, by the groups of `samples`; empty where windows are only tested by one image a group."""


def prepare_regimes(names: Sequence[str], samples: Sequence[Sample], rng: np.random.Generator) -> Regimes:
    """Compare the regimes with each other, once for all windows.

    Raises:
        ValueError: no regime or too many, or a regime with fewer than 2 rows.
    """
    if not 1 <= len(samples) <= MOST_REGIMES or min(len(sample) for sample in samples) < 2:
        raise ValueError(f"a champion carries 1 to {MOST_REGIMES} references of at least 2 rows, got {[len(sample) for sample in samples]}")
    return Regimes(
        names=tuple(names),
        samples=tuple(samples),
        embedding=_view([sample.embedding for sample in samples], rng, by_column=False),
        statistics=_view([sample.statistics for sample in samples], rng, by_column=True),
    )


def averaged_regimes(regimes: Regimes, images: int, rng: np.random.Generator) -> tuple[Regimes, list[np.ndarray]]:
    """The regimes with the mean of so many images a group, and by regime which of its groups have them."""
    members = [clusters.of_at_least(images) for _, clusters in regimes.whole]
    samples = [sample.averaged(clusters.rows(groups, images)) for (sample, clusters), groups in zip(regimes.whole, members, strict=True)]
    return prepare_regimes(regimes.names, samples, rng), members


def _view(vectors: Sequence[np.ndarray], rng: np.random.Generator, *, by_column: bool) -> KernelView:
    """`by_column`: columns of different units are brought to a common scale, their interquartile range."""
    pooled = np.concatenate(vectors)
    centre, scale = location(pooled), np.ones(pooled.shape[1], np.float32)
    if by_column:
        spread = np.subtract(*np.quantile(pooled.astype(np.float64), [0.75, 0.25], axis=0))
        scale = np.where(spread > 0, spread, 1.0).astype(np.float32)
    rows = [around(centre, regime) / scale for regime in vectors]
    gamma = median_gamma(np.concatenate(rows), rng)
    inner = np.array([[mean_kernel(first, second, gamma).mean() for second in rows] for first in rows])
    for index, count in enumerate(map(len, vectors)):
        # Unbiased: a row's kernel with itself, 1, says nothing about its distribution.
        inner[index, index] = (inner[index, index] * count - 1) / (count - 1)
    return KernelView(centre, scale, gamma, rows, inner)


def fit_weights(regimes: Regimes, window: Sample) -> np.ndarray:
    """The shares (R,) of the mixture of regimes with the least MMD^2 to the window; they sum to 1.

    The kernel is the sum of two, on embeddings and on image statistics: a champion that was trained not to mind a drift hardly
    sees it in its embedding, while the statistics do, and the mixture must satisfy the tests on both.

    MMD^2 is a quadratic w'Kw - 2 w'k + const; its minimiser over each face of the simplex has a closed form, and the best of the
    at most 31 faces is the minimiser. For two regimes this is the minimiser on [0, 1].
    """
    towards = regimes.embedding.towards(window.embedding) + regimes.statistics.towards(window.statistics)
    return simplex_minimiser(regimes.embedding.inner + regimes.statistics.inner, towards)


def simplex_minimiser(inner: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """The w >= 0 with sum(w) = 1 that minimises w'Kw - 2 w'k, for a symmetric K (R, R) and k (R,)."""
    count = len(towards)
    best, least = np.full(count, np.nan), np.inf
    for face in (face for size in range(1, count + 1) for face in combinations(range(count), size)):
        at = list(face)
        # Stationary on the face: K w - k + mu = 0 and sum(w) = 1.
        system = np.ones((len(at) + 1, len(at) + 1))
        system[:-1, :-1], system[-1, -1] = inner[np.ix_(at, at)], 0.0
        solution = np.linalg.lstsq(system, np.append(towards[at], 1.0), rcond=None)[0][:-1]
        if (solution < 0).any():
            continue
        weights = np.zeros(count)
        weights[at] = solution / solution.sum()
        value = float(weights @ inner @ weights - 2 * weights @ towards)
        if value < least:
            best, least = weights, value
    return best


def draw_rows(regimes: Regimes, weights: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of each regime in the proportions of `weights`, without replacement and as many as there are."""
    sizes = np.array([len(sample) for sample in regimes.samples])
    used = weights > 0
    total = float(np.min(sizes[used] / weights[used]))
    counts = np.minimum(np.round(total * weights).astype(int), sizes)
    return [np.sort(rng.choice(size, count, replace=False)) for size, count in zip(sizes, counts, strict=True)]


def drawn_sample(regimes: Regimes, drawn: Sequence[np.ndarray]) -> Sample:
    """The drawn rows as one sample."""
    return join_samples([sample.take(rows) for sample, rows in zip(regimes.samples, drawn, strict=True)])


class RegimeAtTheGate(BaseModel):
    """What the gate measured of a version on the labelled images of one learned regime."""

    model_config = ConfigDict(frozen=True)

    accuracy: Proportion
    recalls: dict[str, Proportion] = {}
    """By class; without those that have no image there."""


@dataclass(frozen=True)
class AcceptedTraffic:
    """What a champion was accepted for."""

    model: ModelDescription
    """The champion's description."""
    references: list[Regime]
    """Its references as they were read."""
    kept: list[np.ndarray]
    """By regime, the rows that stand for their groups."""
    regimes: Regimes
    """The references with one image a group."""
    clean: Proportion | None
    """Accuracy of the served graph on the clean test split; None where the bundle does not know it."""

    learned: Proportion | None = None
    """The same on the drifted hold-out on which the gate let this version pass; None where it has none."""
    clean_recalls: Mapping[str, Proportion] = field(default_factory=dict)
    """By class, its recall on the clean test split; without those of a class that has no images there, or of an older gate."""
    learned_recalls: Mapping[str, Proportion] = field(default_factory=dict)
    """The same on the drifted hold-out."""
    at_the_gate: Mapping[str, RegimeAtTheGate] = field(default_factory=dict)
    """By learned regime, what the gate measured on its own images; without those that had none, or of an older gate."""

    @property
    def accuracies(self) -> dict[str, Proportion]:
        """The accuracy that was accepted, by regime; empty where not even the clean one is known.

        A learned regime whose own is not known has that of the drifted hold-out, which are the images of the newest; else the clean one.
        """
        if self.clean is None:
            return {}
        learned = self.learned or self.clean
        own = {name: regime.accuracy for name, regime in self.at_the_gate.items()}
        return {name: self.clean if name == CLEAN_REGIME else own.get(name, learned) for name in self.regimes.names}

    def accuracies_of(self, level: str) -> dict[str, Proportion]:
        """The same for the images of one level of a tag, as in site=B: its own on the clean test split, where that is known."""
        clean = self.model.metrics.get(SERVED_ACCURACY_OF.format(level=level), self.clean)
        return {} if clean is None else self.accuracies | {CLEAN_REGIME: clean}

    @property
    def recalls(self) -> dict[str, dict[str, Proportion]]:
        """By class, the recall that was accepted, by regime: of the learned ones as for accuracies."""
        own = {regime: measured.recalls for regime, measured in self.at_the_gate.items()}
        return {
            name: {
                regime: clean if regime == CLEAN_REGIME else own.get(regime, {}).get(name) or self.learned_recalls.get(name, clean)
                for regime in self.regimes.names
            }
            for name, clean in self.clean_recalls.items()
        }

    def thumbnails(self, drawn: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
        """Name of the regime and thumbnail (h, w, C) of each drawn row, in the order of the gathered sample."""
        return [
            (reference.name, reference.thumbnails[kept[row]])
            for reference, kept, rows in zip(self.references, self.kept, drawn, strict=True)
            for row in rows
        ]


def read_champion(directory: str | Path, rng: np.random.Generator) -> AcceptedTraffic:
    """The champion in `directory`.

    Raises:
        InputError: no bundle, no reference, a reference too small to compare anything with, or more than a champion may carry.
    """
    model = read_model(directory)
    references = read_reference(Path(directory, REFERENCE))
    if len(references) > MOST_REGIMES:
        raise InputError(f"{directory}: {len(references)} references; a champion carries at most {MOST_REGIMES}")
    pairs = [regime_sample(reference) for reference in references]
    if len(pairs[0][0]) < LEAST_GROUPS:
        raise InputError(
            f"{directory}: the drift reference holds {len(pairs[0][0])} images of distinct groups, at least {LEAST_GROUPS} are needed; "
            "raise data_config.reference_share or give more images"
        )
    # Beside a learned regime of few images hardly any drift shows; the others still stand.
    used = [index for index, (sample, _) in enumerate(pairs) if index == 0 or len(sample) >= LEAST_LEARNED]
    regimes = prepare_regimes([references[index].name for index in used], [pairs[index][0] for index in used], rng)
    regimes = replace(regimes, whole=tuple(whole_regime(references[index], pairs[index][1]) for index in used))
    clean = model.metrics.get(SERVED_ACCURACY) or model.metrics.get("test_accuracy")
    kept = [pairs[index][1] for index in used]
    path = Path(directory, GATE_EVIDENCE)
    gate = parse_json(path.read_bytes(), str(path)) if path.exists() else {}
    accuracy = gate.get("accuracy") or {}
    learned = accuracy.get("candidate_drifted") or accuracy.get("candidate_recent")
    recalls = gate.get("recalls") or {}
    return AcceptedTraffic(
        model,
        [references[index] for index in used],
        kept,
        regimes,
        clean,
        learned=Proportion.model_validate(learned) if learned else None,
        clean_recalls=_recalls_by_class(recalls.get("clean")),
        learned_recalls=_recalls_by_class(recalls.get("drifted") or recalls.get("recent")),
        at_the_gate={name: RegimeAtTheGate.model_validate(measured) for name, measured in (gate.get("regimes") or {}).items()},
    )


def _recalls_by_class(measured: Mapping[str, Any] | None) -> dict[str, Proportion]:
    """By class, a version's recall as its gate has measured it."""
    return {name: Proportion.model_validate(recall) for name, recall in (measured or {}).items()}


def answered_rows(watch: Traffic) -> pd.DataFrame:
    """The rows that the champion answered, in time order: a window never mixes versions, and failed requests have no vectors."""
    rows = watch.rows
    answered = rows[(rows["model_version"] == watch.info.champion_version) & (rows["status"] == "ok")]
    return answered.sort_values(["time", "request_id"], kind="stable").reset_index(drop=True)
