"""Which model a run delivers: the one that serves, under the names of the course, and beside it the candidate that does not."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from driftloop import bundle, registry
from driftloop.backends.delivered_models import deliver_models
from driftloop.backends.run_folder import CHAMPION_FILES, RunFolder
from driftloop.errors import Conflict
from driftloop.store import Store, open_store
from tests.factories.candidates import write_candidate, write_gate_evidence


class Run:
    """A run in a folder, with a store in which earlier runs have promoted versions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = RunFolder.create("full-loop", path / "runs")
        self.folder.deliverables.mkdir()
        self.store: Store = open_store(str(path / "store"))

    def candidate(self, seed: int, task: str = "onnx-deployment") -> Path:
        """What a run exports in a task."""
        directory = self.folder.artifacts / "full-loop-x" / task / "candidate"
        write_candidate(directory, seed=seed)
        (directory / "benchmark.json").write_text(f'{{"of": {seed}}}')
        bundle.seal(directory)
        return directory

    def registered(self, seed: int, candidate: Path, champion: str | None) -> str:
        """The candidate as a version of the store."""
        return registry.register(self.store, candidate, write_gate_evidence(self.path / f"e-{seed}", candidate, champion=champion))

    def promoted(self, seed: int, candidate: Path, champion: str | None) -> str:
        """The candidate as the champion of the store."""
        return registry.promote(self.store, self.registered(seed, candidate, champion), expected=champion, reason="better").version

    def delivered(self, after: str | None) -> dict[str, Any]:
        """The manifest, after it was checked against the files."""
        missing = deliver_models(self.folder, lambda: self.store, after)
        manifest = json.loads((self.folder.deliverables / "manifest.json").read_text())
        assert manifest["note"] == (missing or None)
        files = {path for path in self.folder.deliverables.rglob("*") if path.is_file() and path.name != "manifest.json"}
        found = {path.relative_to(self.folder.deliverables).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        assert manifest["files"] == found
        return manifest

    def is_delivered(self, candidate: Path, under: str) -> bool:
        """Whether the course's files below `under` are the candidate's."""
        names = [name for name in CHAMPION_FILES if (self.folder.deliverables / under / name).exists()]
        return bool(names) and all(
            (self.folder.deliverables / under / name).read_bytes() == (candidate / name).read_bytes() for name in names
        )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_after_a_promotion_the_promoted_model_is_delivered_and_no_candidate(run: Run) -> None:
    first, second = run.candidate(1), run.candidate(2, "onnx-deployment-2")
    run.promoted(1, first, None)
    run.promoted(2, second, "1")
    manifest = run.delivered("2")
    assert manifest["champion"]["version"] == "2"
    assert manifest["candidate"] is None
    assert run.is_delivered(second, "")
    assert run.is_delivered(second, "champion")
    bundle.verify(run.folder.deliverables / "champion")
    assert not (run.folder.deliverables / "candidate").exists()


@pytest.mark.parametrize("task", ["onnx-deployment", "onnx-deployment-2", "onnx-deployment-10"])
def test_a_refused_candidate_is_delivered_beside_the_champion_and_not_in_its_place(run: Run, task: str) -> None:
    champion = write_candidate(run.path / "elsewhere", seed=1)
    (champion / "benchmark.json").write_text("{}")
    bundle.seal(champion)
    run.promoted(1, champion, None)
    if task != "onnx-deployment":
        run.candidate(8)
        run.candidate(9, "onnx-deployment-9") if task.endswith("10") else None
    refused = run.candidate(2, task)
    manifest = run.delivered("1")
    assert manifest["champion"]["version"] == "1"
    assert manifest["candidate"] == {"version": None, "candidate": bundle.digest_of(refused)}
    assert run.is_delivered(champion, "")
    assert run.is_delivered(refused, "candidate")
    assert bundle.verify(run.folder.deliverables / "candidate").digest == bundle.digest_of(refused)


def test_an_accepted_candidate_that_a_hold_stopped_is_named_by_its_version(run: Run) -> None:
    for seed, before in ((1, None), (2, "1")):
        run.promoted(seed, write_candidate(run.path / f"earlier-{seed}", seed=seed), before)
    registry.rollback(run.store, reason="bad", hold=True)
    held = run.candidate(3)
    with pytest.raises(Conflict):
        run.promoted(3, held, "1")
    manifest = run.delivered(None)
    assert (manifest["champion"]["version"], manifest["candidate"]["version"]) == ("1", "3")


def test_a_watch_that_retrained_nothing_delivers_the_champion_it_watched(run: Run) -> None:
    run.promoted(1, write_candidate(run.path / "earlier", seed=1), None)
    manifest = run.delivered("1")
    assert (manifest["champion"]["version"], manifest["candidate"]) == ("1", None)
    assert (run.folder.deliverables / "model.int8.onnx").exists()
    assert not (run.folder.deliverables / "benchmark.json").exists()


def test_a_run_that_failed_before_anything_was_promoted_delivers_its_candidate_only(run: Run) -> None:
    candidate = run.candidate(1)
    manifest = run.delivered(None)
    assert (manifest["champion"], manifest["note"]) == (None, None)
    assert run.is_delivered(candidate, "candidate")
    assert not (run.folder.deliverables / "model.onnx").exists()


def test_a_champion_that_cannot_be_had_is_a_note_and_nothing_stands_in_for_it(run: Run) -> None:
    candidate = run.candidate(1)
    run.promoted(1, candidate, None)
    (run.path / "store" / "versions" / "1" / "model.onnx").write_bytes(b"damaged")
    manifest = run.delivered("1")
    assert manifest["champion"] is None
    assert manifest["note"].startswith("the champion was not delivered: ")
    assert "model.onnx" in manifest["note"]
    assert not (run.folder.deliverables / "champion").exists()
    assert not (run.folder.deliverables / "model.onnx").exists()
    assert run.is_delivered(candidate, "candidate")


def test_a_candidate_that_was_never_sealed_is_not_delivered(run: Run) -> None:
    shutil.rmtree(run.candidate(1) / "events")
    (run.folder.artifacts / "full-loop-x" / "onnx-deployment" / "candidate" / "SHA256SUMS").unlink()
    assert run.delivered(None)["candidate"] is None
