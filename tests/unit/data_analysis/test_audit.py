"""Duplicates, contradictions and leaks are found, counted, and cleared on the side that learns."""

import numpy as np
import pandas as pd

from components.data_analysis.audit import AuditFindings, audit


def table(*rows: tuple[str, str, str, str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of path, label, split and content; one different thumbnail per content (a trailing ' changed' gives a near-duplicate)."""
    frame = pd.DataFrame(rows, columns=["path", "label", "source_split", "sha256"])
    # Others that look like nothing else, so that there is an average image to deviate from.
    others = pd.DataFrame(
        [(f"train/cat/other{number}.png", "cat", "train", f"other{number}") for number in range(40)],
        columns=frame.columns,
    )
    frame = pd.concat([frame, others], ignore_index=True).assign(width=20, height=20, grey=True, chunk=0, tags="")
    frame["row"] = np.arange(len(frame))
    return frame, np.stack([thumbnail(content) for content in frame["sha256"]])


def thumbnail(content: str) -> np.ndarray:
    name = content.removesuffix(" changed")
    image = np.random.default_rng(list(name.encode())).integers(0, 256, (16, 16)).astype(float)
    return np.clip(image * 0.9 + 5 if content.endswith(" changed") else image, 0, 255).astype(np.uint8)


def run(*rows: tuple[str, str, str, str], smallest_val: int = 0) -> tuple[pd.DataFrame, AuditFindings]:
    frame, thumbnails = table(*rows)
    kept, findings = audit(frame, thumbnails, group_pattern="", smallest_val=smallest_val)
    return kept[~kept["path"].str.contains("other")], findings


def test_a_clean_source_loses_nothing() -> None:
    kept, findings = run(("train/cat/a.png", "cat", "train", "a"), ("test/dog/b.png", "dog", "test", "b"))
    assert len(kept) == 2
    assert findings == AuditFindings()
    assert findings.dropped == 0


def test_the_same_file_in_train_and_test_stays_in_test() -> None:
    kept, findings = run(("train/cat/a.png", "cat", "train", "a"), ("test/cat/b.png", "cat", "test", "a"))
    assert kept["path"].tolist() == ["test/cat/b.png"]
    assert findings.duplicates_across == 1
    assert findings.notes[0] == "1 image was in two splits; it stays on the side that judges."


def test_the_same_file_twice_in_a_split_stays_once() -> None:
    kept, findings = run(("train/cat/b.png", "cat", "train", "a"), ("train/cat/a.png", "cat", "train", "a"))
    assert kept["path"].tolist() == ["train/cat/a.png"]
    assert (findings.duplicates_within, findings.duplicates_across) == (1, 0)


def test_the_same_file_under_two_classes_goes() -> None:
    kept, findings = run(("train/cat/a.png", "cat", "train", "a"), ("train/dog/a.png", "dog", "train", "a"))
    assert kept.empty
    assert findings.conflicting == 2


def test_a_patient_in_train_and_test_stays_in_test() -> None:
    kept, findings = run(
        ("train/cat/person1_bacteria_1.png", "cat", "train", "a"),
        ("train/cat/person1_bacteria_2.png", "cat", "train", "b"),
        ("test/cat/person1_virus_3.png", "cat", "test", "c"),
        ("train/cat/person2_virus_4.png", "cat", "train", "d"),
    )
    assert sorted(kept["sha256"]) == ["c", "d"]
    assert (findings.leaking_groups, findings.leaking_images) == (1, 2)


def test_near_duplicates_become_one_group_and_do_not_leak_either() -> None:
    kept, findings = run(("", "cat", "train", "a"), ("test/cat/b.png", "cat", "test", "a changed"))
    assert kept["sha256"].tolist() == ["a changed"]
    assert (findings.near_duplicate_clusters, findings.near_duplicate_images) == (1, 2)
    assert findings.leaking_images == 1


def test_near_duplicates_join_their_patients() -> None:
    kept, _ = run(
        ("cat/person1_virus_1.png", "cat", "", "a"),
        ("cat/person1_virus_2.png", "cat", "", "b"),
        ("cat/person2_virus_3.png", "cat", "", "a changed"),
        ("cat/person3_virus_4.png", "cat", "", "d"),
    )
    groups = dict(zip(kept["sha256"], kept["group"], strict=True))
    assert groups["a"] == groups["b"] == groups["a changed"] == "person1"
    assert groups["d"] == "person3"


def test_a_small_val_joins_train_and_a_large_one_stays() -> None:
    rows = [(f"val/cat/{number}.png", "cat", "val", f"v{number}") for number in range(8)]
    kept, findings = run(*rows, smallest_val=9)
    assert set(kept["source_split"]) == {"train"}
    assert findings.merged_val == 8
    assert "too few to choose a model by" in findings.notes[0]
    kept, findings = run(*rows, smallest_val=8)
    assert set(kept["source_split"]) == {"val"}
    assert findings.merged_val == 0
