"""From bundles and splits to the arrays that the decision is made of."""

from pathlib import Path

import numpy as np

from components.validation_gate.answers import Answers, output_problems, schema_problems
from components.validation_gate.decision import Evidence
from components.validation_gate.latency import Latency, measure
from components.validation_gate.opponents import DRIFTED_SPLIT, Opponents
from components.validation_gate.slices import find_slices
from driftloop import runtime
from driftloop.bundle import read_model, sha256_file
from driftloop.dataset import open_split
from driftloop.dataset.description import Description
from driftloop.errors import InputError
from driftloop.inference.served_model import ServedModel
from driftloop.settings import GateSettings
from driftloop.step_facts import read_facts

TEST_SPLIT = "test"


def gather(dataset: Description, candidate: str | Path, opponents: Opponents, settings: GateSettings) -> Evidence:
    """Run the models as served on the same images, time them, and collect what the decision needs.

    Raises:
        InputError: no labelled test images, or a bundle that was not exported.
        IntegrityError: a bundle or a shard does not match its checksum.
    """
    champion_model = read_model(opponents.champion) if opponents.champion else None
    problems = schema_problems(read_model(candidate), dataset, champion_model)
    int8 = read_facts(candidate).get("onnx_deployment")
    uses = opponents.earlier_uses + 1
    if problems:
        return Evidence(nothing(dataset), dataset.classes, schema=problems, test_uses=uses, int8=int8)
    mine = ServedModel.open(candidate)
    theirs = ServedModel.open(opponents.champion) if opponents.champion else None
    clean = ask(dataset, TEST_SPLIT, mine, theirs, settings)
    runtime.progress(0.5, "clean test split")
    problems = output_problems(clean.candidate)
    if problems or theirs is None or opponents.champion is None:
        return Evidence(clean, dataset.classes, schema=problems, test_uses=uses, int8=int8)
    drifted = new_drift(dataset, opponents.accepted, mine, theirs, settings)
    runtime.progress(0.7, "drifted hold-out")
    return Evidence(
        clean,
        dataset.classes,
        drifted=drifted,
        best_earlier=right_answers(dataset, opponents.earlier),
        best_earlier_version=opponents.earlier_version,
        may_veto=accepted_answers(opponents, mine, theirs, settings),
        latency=timed(dataset, candidate, opponents.champion, settings),
        sizes=(served_file(candidate, mine).stat().st_size, served_file(opponents.champion, theirs).stat().st_size),
        identical=sha256_file(served_file(candidate, mine)) == sha256_file(served_file(opponents.champion, theirs)),
        test_uses=uses,
        int8=int8,
    )


def ask(
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
        found = "no labelled images" if not len(chosen) else "one labelled image only"
        raise InputError(f"dataset {dataset.manifest_hash[:12]}: split '{name}' holds {found}; the gate decides by them: label some")
    images = split.images if len(chosen) == len(split.labels) else split.images[chosen]
    samples = split.samples.iloc[chosen].reset_index(drop=True)
    return Answers(
        labels=split.labels[chosen],
        candidate=candidate.predict(images).probabilities,
        champion=champion.predict(images).probabilities if champion else None,
        groups=samples["group"].astype(str).to_numpy() if "group" in samples else None,
        slices=find_slices(samples, images, minimum=settings.slice_minimum) if champion and name == TEST_SPLIT else {},
    )


def right_answers(dataset: Description, bundle_dir: Path | None) -> np.ndarray | None:
    """What an earlier champion has right on the test split, bool (N,); None where there is none, or where it takes other images."""
    if bundle_dir is None or schema_problems(read_model(bundle_dir), dataset, None):
        return None
    split = open_split(dataset, TEST_SPLIT)
    rows = np.flatnonzero(split.labels >= 0)
    return ServedModel.open(bundle_dir).predict(split.images[rows]).labels == split.labels[rows]


def new_drift(
    dataset: Description, accepted: Description | None, candidate: ServedModel, champion: ServedModel, settings: GateSettings
) -> Answers | None:
    """Both models on the drifted hold-out, where the dataset has one: on what is new in it, if the champion was accepted for the rest."""
    shards = [shard for shard in dataset.shards if shard.split == DRIFTED_SPLIT]
    if not shards:
        return None
    old = {shard.sha256 for shard in accepted.shards if shard.split == DRIFTED_SPLIT} if accepted else set()
    new = np.concatenate([np.full(shard.rows, shard.sha256 not in old) for shard in shards])
    return ask(dataset, DRIFTED_SPLIT, candidate, champion, settings, rows=new if new.any() else None)


def accepted_answers(opponents: Opponents, candidate: ServedModel, champion: ServedModel, settings: GateSettings) -> dict[str, Answers]:
    """Both models on the drifted images that the champion was accepted for; empty where there are none to lose."""
    if opponents.accepted is None or schema_problems(candidate.description, opponents.accepted, None):
        return {}
    return {"drifted images that the champion was accepted for": ask(opponents.accepted, DRIFTED_SPLIT, candidate, champion, settings)}


def timed(dataset: Description, candidate: str | Path, champion: Path, settings: GateSettings) -> Latency:
    """Latency of single-image requests on one thread: with more, the two would compete with whatever else the machine does."""
    images = np.ascontiguousarray(open_split(dataset, TEST_SPLIT).images[:64])
    return measure(ServedModel.open(candidate, threads=1), ServedModel.open(champion, threads=1), images, rounds=settings.latency_rounds)


def served_file(directory: str | Path, model: ServedModel) -> Path:
    """The graph that users get."""
    return Path(directory, model.variant)


def nothing(dataset: Description) -> Answers:
    """No answers, where the models cannot be run side by side."""
    return Answers(np.zeros(0, np.int64), np.zeros((0, len(dataset.classes))))
