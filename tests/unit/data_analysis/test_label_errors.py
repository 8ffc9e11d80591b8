"""Labels that look wrong: of each image by models that never saw it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from components.data_analysis.label_errors import AGREEMENT, check_labels, out_of_fold, suspect, thumbnails
from components.data_analysis.step import run
from driftloop.contracts import TRAIN
from driftloop.dataset import Split, open_split, read_description
from driftloop.step_facts import read_facts


def test_as_many_are_suspected_as_the_confident_ones_say_the_most_different_first() -> None:
    first, second = np.array([0.9, 0.9, 0.9, 0.8, 0.2, 0.1, 0.45, 0.4]), np.array([0.1, 0.1, 0.2, 0.9])
    own = np.concatenate([first, second])
    labels = np.repeat([0, 1], [8, 4])
    # Usual is .58 for the first class and .68 for the second. Of the first label four are confidently first and two confidently second
    # (.8 and .9): a third of its eight, three, are of the second class, so .6 is one, and .55 is not. Of the second, one of four.
    found, looks_like = suspect(np.column_stack([own, 1 - own]), labels)
    assert own[labels == 0].mean() == pytest.approx(0.58125)
    assert (1 - own)[labels == 1].mean() == pytest.approx(0.675)
    assert found.tolist() == [5, 11, 4, 7]
    assert looks_like.tolist() == [1, 0, 1, 1]


def test_nobody_is_suspected_of_a_class_that_is_not_the_likeliest() -> None:
    """Rare and never likely: its images are as it usually is, and so are some of the others."""
    probabilities = np.array([[0.9, 0.1]] * 6 + [[0.7, 0.3]] * 2 + [[0.75, 0.25]] * 2)
    found, _ = suspect(probabilities, np.repeat([0, 1], [8, 2]))
    assert set(found) <= {8, 9}


def blobs(rng: np.random.Generator, groups: int, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes, two standard deviations apart in each of eight numbers, of some groups of some images."""
    labels = np.repeat(np.arange(groups) % 2, images)
    return rng.normal(size=(groups * images, 8)) + 2.0 * labels[:, None], labels, np.repeat(np.arange(groups), images)


def test_most_of_the_labels_that_were_changed_are_suspected_and_hardly_another() -> None:
    rng = np.random.default_rng(0)
    seen, truth, groups = blobs(rng, 100, 4)
    changed = rng.permutation(400)[:20]
    labels = truth.copy()
    labels[changed] = 1 - labels[changed]
    found, looks_like = suspect(out_of_fold(seen, labels, groups, seed=1), labels)
    assert len(set(changed) & set(found)) >= 15
    assert len(set(found) - set(changed)) <= 2
    assert (looks_like == 1 - labels[found]).all()


def test_an_image_is_not_judged_by_others_of_its_group() -> None:
    """All images of one patient have the wrong label: fitted to one of them, a model would believe the others."""
    rng = np.random.default_rng(1)
    seen, labels, groups = blobs(rng, 40, 10)
    mark = np.zeros((400, 1))
    mark[groups == 7] = 50.0
    labels[groups == 7] = 1 - labels[groups == 7]
    found, _ = suspect(out_of_fold(np.hstack([seen, mark]), labels, groups, seed=1), labels)
    assert set(np.flatnonzero(groups == 7)) <= set(found)


def squares(folder: Path, count: int, wrong: dict[str, str]) -> Path:
    """Dark and bright squares of their own noise; `wrong` files lie under the other class."""
    rng = np.random.default_rng(2)
    for label, level in (("bright", 190), ("dark", 60)):
        for number in range(count):
            name = f"{label}{number:03d}.png"
            path = folder / wrong.get(name, label) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(rng.normal(level, 30, (24, 24)), 0, 255).astype(np.uint8)).save(path)
    return folder


def analysed(source: Path, folder: Path, image_size: int = 32, **config: float) -> Path:
    arguments = {"image_size": image_size, "seed": 1, "store": str(folder / "store"), "replayed": False}
    run(str(source), "a" * 64, str(folder), str(folder / "page.html"), config={"workers": 1.0} | config, **arguments)
    return folder


def test_a_file_under_the_wrong_class_is_on_the_page_and_in_the_facts(tmp_path: Path) -> None:
    source = squares(tmp_path / "squares", 90, {f"bright{number:03d}.png": "dark" for number in range(12)})
    out = analysed(source, tmp_path / "out")
    samples = open_split(out, TRAIN).samples["path"]
    wrong = {path for path in samples if path.startswith("dark/bright")}
    facts = read_facts(out)["data_analysis"]
    assert wrong
    suspected = {row["path"] for row in facts["labels"]["suspected"]}
    assert suspected <= wrong
    assert len(wrong) / 2 <= len(suspected) == facts["labels"]["suspected_count"]
    assert {(row["label"], row["looks_like"]) for row in facts["labels"]["suspected"]} == {("dark", "bright")}
    assert any("look like another class" in doubt["finding"] for doubt in facts["doubts"])
    assert "dark, looks like bright" in (out / "page.html").read_text()


def test_the_answer_counts_what_is_to_be_looked_at(tmp_path: Path) -> None:
    out = analysed(squares(tmp_path / "squares", 180, {}), tmp_path / "out")
    (doubt,) = read_facts(out)["data_analysis"]["doubts"]
    assert doubt["finding"].startswith("classes differ already in brightness")
    assert "1 finding that a reader must know is listed below" in (out / "page.html").read_text()


def test_what_cannot_be_known_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for label in ("heads", "tails"):
        (tmp_path / "coins" / label).mkdir(parents=True)
        for number in range(60):
            Image.fromarray(rng.integers(0, 256, (24, 24), np.uint8)).save(tmp_path / "coins" / label / f"{number}.png")
    out = analysed(tmp_path / "coins", tmp_path / "out")
    checked = check_labels(open_split(out, TRAIN), read_description(out), most=2_000, seed=1)
    assert checked is not None
    assert checked.agreement < AGREEMENT
    assert len(checked.rows) == 0
    assert "agrees with their labels too little" in (out / "page.html").read_text()


def test_thumbnails_of_batches_are_those_of_all_together() -> None:
    images = np.random.default_rng(0).integers(0, 256, (150, 40, 40, 3), np.uint8)
    rows = np.arange(1, 150)
    together = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float()
    expected = torch.nn.functional.adaptive_avg_pool2d(together, 16).flatten(1).numpy()
    assert np.array_equal(thumbnails(images, rows), expected)


class Watched:
    """Images that say how many of them are taken at once; all of them never are."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.shape, self.taken = images, images.shape, []

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.taken.append(len(rows))
        return self.images[rows]


@pytest.mark.parametrize(("image_size", "most"), [(32, 64), (96, 113)], ids=["thumbnails", "pretrained where it is to be had"])
def test_only_a_batch_of_the_split_is_taken_from_the_map_at_once(image_size: int, most: int, tmp_path: Path) -> None:
    out = analysed(squares(tmp_path / "squares", 110, {}), tmp_path / "out", image_size, labels_checked=0)
    train, description = open_split(out, TRAIN), read_description(out)
    watched = Watched(train.images)
    checked = check_labels(Split(watched, train.labels, train.samples), description, most=2_000, seed=1)
    assert checked is not None
    assert checked.images == sum(watched.taken) > most
    assert max(watched.taken) <= most


def test_a_rare_class_is_among_those_that_are_looked_at(tmp_path: Path) -> None:
    source = squares(tmp_path / "squares", 400, {})
    for number in range(20, 400):
        (source / "dark" / f"dark{number:03d}.png").unlink()
    out = analysed(source, tmp_path / "out", labels_checked=0)
    train, description = open_split(out, TRAIN), read_description(out)
    for seed in range(5):
        checked = check_labels(train, description, most=40, seed=seed)
        assert checked is not None
        assert checked.images == 40


@pytest.mark.parametrize("most", [0, 6])
def test_with_too_few_to_look_at_nothing_is_said_of_labels(most: int, tmp_path: Path) -> None:
    out = analysed(squares(tmp_path / "squares", 60, {}), tmp_path / "out", labels_checked=most)
    assert read_facts(out)["data_analysis"]["labels"] is None
    assert "was not looked for" in (out / "page.html").read_text()
