"""A run's folder: its own name, `latest`, and the files people look for."""

import os
from pathlib import Path

from driftloop.backends.run_folder import RunFolder


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = [RunFolder.create("training", tmp_path) for _ in range(5)]
    assert len({folder.path for folder in folders}) == 5


def test_latest_names_the_newest(tmp_path: Path) -> None:
    for _ in range(2):
        folder = RunFolder.create("training", tmp_path)
        folder.point_latest()
    assert (tmp_path / "latest").resolve() == folder.path.resolve()


def test_a_store_used_by_a_later_run_is_still_found_through_latest(tmp_path: Path) -> None:
    first = RunFolder.create("full-loop", tmp_path)
    first.store.mkdir()
    (first.store / "champion.json").write_text("{}")
    first.point_latest()
    second = RunFolder.create("drift-watch", tmp_path)
    second.link_store((tmp_path / "latest" / "store").resolve())
    second.point_latest()
    assert (tmp_path / "latest" / "store" / "champion.json").read_text() == "{}"


def test_deliverables_get_the_names_people_know_and_the_newest_wins(tmp_path: Path) -> None:
    folder = RunFolder.create("full-loop", tmp_path)
    for index, step in enumerate(("validation-gate", "validation-gate-2")):
        evidence = folder.artifacts / "full-loop-x" / step / "evidence"
        evidence.mkdir(parents=True)
        (evidence / "gate.json").write_text(step)
        os.utime(evidence / "gate.json", (index, index))
    assert folder.collect_deliverables() == ["gate.json"]
    assert (folder.deliverables / "gate.json").read_text() == "validation-gate-2"
