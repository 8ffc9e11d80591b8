"""From bundles and splits to what the decision is made of: all models run, as served, on the same images, and timed."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from components.validation_gate.answers import Answers, no_answers, output_problems
from components.validation_gate.decision import GateInputs
from components.validation_gate.latency import Latency, measure_latency
from components.validation_gate.opponents import Opponents
from components.validation_gate.slices import find_slices, tag_slices
from driftloop import runtime
from driftloop.bundle import ModelDescription, read_model, schema_problems, sha256_file
from driftloop.contracts import DRIFTED_GATE, ONNX_DEPLOYMENT, RECENT_GATE, REGIME_PREFIX, TEST
from driftloop.dataset import open_split
from driftloop.dataset.description import Description
from driftloop.dataset.reading import read_samples
from driftloop.errors import InputError
from driftloop.inference.served_model import ServedModel
from driftloop.settings import GateSettings
from driftloop.step_facts import read_facts

#: Test images that latency is measured with.
TIMED_IMAGES = 64


def measure_candidate(dataset: Description, candidate: str | Path, opponents: Opponents, settings: GateSettings) -> GateInputs:
    """Run the models on the same images, time them, and collect what the decision needs.

    Args:
        dataset: that the candidate is judged on.
        candidate: its bundle, checked against its SHA256SUMS already.
        opponents: whom it has to face.
        settings: of the gate.

    Raises:
        InputError: no labelled test images, or a bundle that was not exported.
        IntegrityError: the champion's bundle or a shard does not match its checksum.
    """
    description = read_model(candidate)
    problems = _misfits(description, dataset, "the dataset")
    if opponents.champion:
        problems += _misfits(description, read_model(opponents.champion), "the champion")
    int8 = read_facts(candidate).get(ONNX_DEPLOYMENT)
    uses = opponents.earlier_uses + 1
    if problems:
        return GateInputs(no_answers(len(dataset.classes)), dataset.classes, schema=problems, test_uses=uses, int8=int8)
    candidate_model = ServedModel(candidate, description, description.served)
    champion_model = ServedModel.open(opponents.champion) if opponents.champion else None
    clean = answer(dataset, TEST, candidate_model, champion_model, settings)
    runtime.progress(0.5, "clean test split")
    problems = output_problems(clean.candidate)
    if problems or champion_model is None or opponents.champion is None:
        return GateInputs(clean, dataset.classes, schema=problems, test_uses=uses, int8=int8)
    recent = new_images(dataset, RECENT_GATE, opponents, candidate_model, champion_model, settings)
    drifted = new_drift(dataset, opponents, candidate_model, champion_model, settings) if recent is None else None
    runtime.progress(0.7, "drifted hold-out")
    accepted = accepted_answers(opponents, candidate_model, champion_model, settings)
    regimes = regime_answers(dataset, candidate_model, champion_model, settings)
    elsewhere = [answers for answers in (recent, drifted, accepted, *regimes.values()) if answers is not None]
    problems = [problem for answers in elsewhere for problem in output_problems(answers.candidate)]
    if problems:  # Such a number would count as an answer: as the first class.
        return GateInputs(clean, dataset.classes, schema=problems[:1], test_uses=uses, int8=int8)
    candidate_graph, champion_graph = Path(candidate, candidate_model.variant), Path(opponents.champion, champion_model.variant)
    return GateInputs(
        clean,
        dataset.classes,
        drifted=drifted,
        recent=recent,
        best_earlier=right_of_earlier(dataset, opponents.earlier),
        best_earlier_version=opponents.earlier_version,
        accepted=accepted,
        regimes=regimes,
        regime_shares=shares_by_regime(regimes, opponents),
        latency=latency_of(
            dataset, _on_one_thread(candidate, candidate_model), _on_one_thread(opponents.champion, champion_model), settings
        ),
        sizes=(candidate_graph.stat().st_size, champion_graph.stat().st_size),
        identical=sha256_file(candidate_graph) == sha256_file(champion_graph),
        test_uses=uses,
        drifted_uses=opponents.earlier_tries + 1,
        new_share=opponents.new_share,
        concept=opponents.concept,
        int8=int8,
    )


def answer(
    dataset: Description,
    name: str,
    candidate: ServedModel,
    champion: ServedModel | None,
    settings: GateSettings,
    rows: np.ndarray | None = None,
) -> Answers:
    """What both models answer on the labelled images of a split, or on those of them in the mask `rows`."""
    split = open_split(dataset, name)
    chosen = np.flatnonzero(split.labels >= 0 if rows is None else (split.labels >= 0) & rows)
    if len(chosen) < 2:
        held = "no labelled images" if not len(chosen) else "one labelled image only"
        raise InputError(f"dataset {dataset.manifest_hash[:12]}: split '{name}' holds {held}; the gate decides by them: label some")
    images = split.images if len(chosen) == len(split.labels) else split.images[chosen]
    samples = split.samples.iloc[chosen].reset_index(drop=True)
    minimum = settings.slice_minimum
    slices = find_slices(samples, images, minimum=minimum) if name == TEST else tag_slices(samples, minimum=minimum)
    return Answers(
        labels=split.labels[chosen],
        candidate=candidate.predict(images).probabilities,
        champion=champion.predict(images).probabilities if champion else None,
        candidate_shares=candidate.naming_shares,
        champion_shares=champion.naming_shares if champion else (),
        groups=samples["group"].astype(str).to_numpy() if "group" in samples else None,
        slices={} if champion is None else slices,
    )


def right_of_earlier(dataset: Description, bundle_dir: Path | None) -> np.ndarray | None:
    """What an earlier champion has right on the test split, bool (N,); None where there is none, or where it takes other images."""
    if bundle_dir is None or _misfits(read_model(bundle_dir), dataset, "the dataset"):
        return None
    split = open_split(dataset, TEST)
    rows = np.flatnonzero(split.labels >= 0)
    return ServedModel.open(bundle_dir).predict(split.images[rows]).labels == split.labels[rows]


def new_drift(
    dataset: Description, opponents: Opponents, candidate: ServedModel, champion: ServedModel, settings: GateSettings
) -> Answers | None:
    """Both models on the drifted hold-out, where the dataset has one: on what is new in it, if the champion was accepted for the rest."""
    if not dataset.counts.get(DRIFTED_GATE):
        return None
    new = new_images(dataset, DRIFTED_GATE, opponents, candidate, champion, settings)
    return answer(dataset, DRIFTED_GATE, candidate, champion, settings) if new is None else new


def new_images(
    dataset: Description, split: str, opponents: Opponents, candidate: ServedModel, champion: ServedModel, settings: GateSettings
) -> Answers | None:
    """Both models on the images of a split that the champion's dataset does not have; None where there are none."""
    shards = [shard for shard in dataset.shards if shard.split == split]
    old = {shard.sha256 for shard in opponents.dataset.shards if shard.split == split} if opponents.dataset else set()
    new = np.concatenate([np.zeros(0, bool), *(np.full(shard.rows, shard.sha256 not in old) for shard in shards)])
    return answer(dataset, split, candidate, champion, settings, rows=new) if new.any() else None


def accepted_answers(opponents: Opponents, candidate: ServedModel, champion: ServedModel, settings: GateSettings) -> Answers | None:
    """Both models on the drifted images that the champion was accepted for; None where there are none to lose."""
    if opponents.accepted is None or _misfits(candidate.description, opponents.accepted, "the dataset"):
        return None
    return answer(opponents.accepted, DRIFTED_GATE, candidate, champion, settings)


def regime_answers(dataset: Description, candidate: ServedModel, champion: ServedModel, settings: GateSettings) -> dict[str, Answers]:
    """Both models on the labelled images of each regime that its dataset has: those kept for the gate that are in its split, too.

    A regime without two such images is missing, as one of an earlier retraining whose hold-out had none.
    """
    samples = read_samples(dataset)
    paths = {name: samples["path"][samples["split"] == name] for name in dataset.counts if name.startswith(REGIME_PREFIX)}
    found = {}
    for split in (DRIFTED_GATE, RECENT_GATE):
        held = samples[samples["split"] == split]
        for regime, accepted in paths.items():
            inside = held["path"].isin(accepted).to_numpy()
            if (inside & (held["label"] >= 0)).sum() > 1:
                found[regime] = answer(dataset, split, candidate, champion, settings, rows=inside)
    return found


def shares_by_regime(learned: Iterable[str], opponents: Opponents) -> dict[str, float]:
    """The share of traffic of each regime, as far as watches say: a regime that the champion's dataset does not have is what is new."""
    shares = dict(opponents.regime_shares)
    if opponents.dataset is not None and opponents.new_share is not None:
        shares |= {name: opponents.new_share for name in learned if name not in opponents.dataset.counts}
    return shares


def latency_of(dataset: Description, candidate: ServedModel, champion: ServedModel, settings: GateSettings) -> Latency:
    """Latency of single-image requests on the test split's first images."""
    images = np.ascontiguousarray(open_split(dataset, TEST).images[:TIMED_IMAGES])
    return measure_latency(candidate, champion, images, rounds=settings.latency_rounds)


def _on_one_thread(directory: str | Path, model: ServedModel) -> ServedModel:
    """The same graph again, to be timed: with more threads the two would compete with whatever else the machine does."""
    return ServedModel(directory, model.description, model.variant, threads=1)


def _misfits(model: ModelDescription, other: ModelDescription | Description, name: str) -> list[str]:
    """Why the candidate `model` cannot be compared with, or on, the other that sentences call `name`."""
    return schema_problems(
        model,
        classes=other.classes,
        image_size=other.image_size,
        resize=other.resize,
        deep_range=other.deep_range,
        channels=other.channels,
        owner="the candidate",
        other=name,
    )
