"""The data report: what came in, what was wrong with it, what went where, what it looks like, and what training will see of it."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from components.data_analysis.statistics import Analysis, ClassStatistics
from driftloop.contracts import FACTS, REFERENCE, STREAM, TEST, TRAIN, VAL
from driftloop.dataset import Split
from driftloop.reporting import Page
from driftloop.reporting.plot_style import MUTED, PALETTE, axes
from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import to_tensor

#: What each split is used for.
PURPOSES = {
    TRAIN: "learning",
    VAL: "choice of the model, calibration",
    TEST: "the gate; touched by nothing else",
    REFERENCE: "what production is compared with",
    STREAM: "replayed as traffic in demos",
}
#: Classes that a figure can tell apart, that get a gallery of their own, and whose augmentation is shown.
PLOTTED_CLASSES, GALLERY_CLASSES, AUGMENTED_CLASSES = 6, 10, 4
#: Images in a gallery of a class, and augmented views of an image.
GALLERY_IMAGES, VIEWS = 8, 6
#: Broken files that the page lists.
LISTED_FILES = 20


def build_report(analysis: Analysis) -> Page:
    """The page, from the overview to the details."""
    page = Page("Data report", lead=_lead(analysis))
    _overview(page, analysis)
    _splits(page, analysis)
    _looks(page, analysis)
    _checks(page, analysis)
    _training(page, analysis)
    return page


def _lead(analysis: Analysis) -> str:
    description, total = analysis.description, sum(analysis.description.counts.values())
    kind = "grey" if description.channels == 1 else "colour"
    groups = analysis.audited.frame["group"].nunique()
    side = f"{description.image_size} x {description.image_size} pixels"
    return (
        f"{total:,} {kind} images of {len(description.classes)} classes and {groups:,} patients, sites or single images from "
        f"{description.source}, packed at {side} as dataset {description.manifest_hash[:12]}."
    )


def _overview(page: Page, analysis: Analysis) -> None:
    page.tiles(
        {
            "images": sum(analysis.description.counts.values()),
            "classes": len(analysis.description.classes),
            "left out": analysis.audited.findings.dropped,
            "broken files": len(analysis.audited.broken),
            "faster than decoding files": f"{analysis.loader.speedup:.0f}x",
        }
    )
    if not analysis.audited.notes:
        page.notice("Nothing was found that would make later figures doubtful.", "good")
    for note in analysis.audited.notes:
        page.notice(note, "warning")


def _splits(page: Page, analysis: Analysis) -> None:
    page.section(
        "What goes where",
        "Splits are by patient or site: nobody is on two sides, and the seed plays no part. Many are split by a hash of the name, few are "
        "balanced by size and class. Whom the champion's dataset knows (before the first champion: the store's newest, cut by the same "
        f"shares) stays where he is: {analysis.audited.kept:,} images here. Splits that a source brings are kept.",
    )
    page.figure(balance(analysis.counts, analysis.description.classes), "Images by split and class")
    groups = analysis.audited.frame.groupby("split")["group"].nunique()
    rows: list[Mapping[str, object]] = [
        {"split": split, "images": sum(by_class.values()), "groups": int(groups[split]), "used for": PURPOSES[split]}
        for split, by_class in analysis.counts.items()
    ]
    page.table(rows)


def _looks(page: Page, analysis: Analysis) -> None:
    page.section("What it looks like")
    for label, name in list(enumerate(analysis.description.classes))[:GALLERY_CLASSES]:
        rows = np.flatnonzero(analysis.train.labels == label)
        chosen = np.random.default_rng([analysis.seed, label]).permutation(rows)[:GALLERY_IMAGES]
        page.gallery([analysis.train.images[row] for row in chosen], [""] * len(chosen), f"{name}: random training images")
    images, captions = mean_images(analysis.statistics, analysis.description.classes)
    page.gallery(images, captions, "Mean training image by class: where classes differ on average", side=128)
    page.figure(
        distributions(analysis.statistics, analysis.audited.frame, analysis.description.classes),
        "Training images by class (one that brightness or contrast tells may come from another device); right: the source's files",
    )


def _checks(page: Page, analysis: Analysis) -> None:
    findings = analysis.audited.findings
    page.section("What was checked")
    page.table(
        [
            {"check": "files that cannot be read", "found": len(analysis.audited.broken), "what was done": "left out, listed below"},
            {"check": "same file under two classes", "found": findings.conflicting, "what was done": "left out"},
            {"check": "same file twice in a split", "found": findings.duplicates_within, "what was done": "one kept"},
            {"check": "same file in two splits", "found": findings.duplicates_across, "what was done": "kept on the side that judges"},
            {
                "check": "near-duplicates (scaled, re-saved, brighter)",
                "found": findings.near_duplicate_images,
                "what was done": f"kept together: {findings.near_duplicate_clusters} clusters, one group each",
            },
            {
                "check": "patients on two sides of the source's splits",
                "found": findings.leaking_groups,
                "what was done": f"{findings.leaking_images} images left out of the weaker side",
            },
        ]
    )
    if analysis.audited.broken:
        shown = analysis.audited.broken[:LISTED_FILES]
        caption = (
            f"Broken files ({len(shown)} of {len(analysis.audited.broken)}; {FACTS} lists more)"
            if len(analysis.audited.broken) > LISTED_FILES
            else "Broken files"
        )
        page.table([{"file": path, "reason": reason} for path, reason in shown], caption)


def _training(page: Page, analysis: Analysis) -> None:
    page.section("What training will see", "Random views: moved, turned, scaled, mirrored, lighter or darker, and still what they are.")
    for images, captions in previews(analysis.train, analysis.description.classes, seed=analysis.seed):
        page.gallery(images, captions, side=88)
    loader = analysis.loader
    page.table(
        [
            {
                "loader": name,
                "images / s": round(speed.images_per_second),
                "slowest round": round(speed.slowest),
                "fastest round": round(speed.fastest),
            }
            for name, speed in (("packed bytes, memory-mapped", loader.packed), ("decoding the files (ImageFolder)", loader.files))
        ],
        f"Getting normalised batches of 64, measured in this run: {loader.images} training images, one thread, files cached in memory",
    )


def balance(counts: dict[str, dict[str, int]], classes: list[str]) -> Figure:
    """Images by split, stacked by class."""
    figure, (axis,) = axes(7.4, 0.5 + 0.42 * len(counts))
    splits = list(counts)[::-1]
    left = np.zeros(len(splits))
    for number, name in enumerate(classes):
        widths = np.array([counts[split][name] for split in splits])
        colour = PALETTE[number % len(PALETTE)]
        axis.barh(splits, widths, left=left, label=name, color=colour, alpha=1 - 0.5 * (number >= len(PALETTE)), height=0.66)
        left += widths
    for row, total in enumerate(left):
        axis.annotate(f"{int(total):,}", (total, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=MUTED)
    axis.margins(x=0.1)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("images")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), ncols=1 + len(classes) // 8)
    return figure


def distributions(statistics: ClassStatistics, frame: pd.DataFrame, classes: list[str]) -> Figure:
    """Brightness and contrast of training images by class, as densities; and the sizes of the source's files."""
    figure, (brightness, contrast, size) = axes(9.6, 2.7, columns=3)
    for axis, name in ((brightness, "brightness"), (contrast, "contrast")):
        values = statistics.column(name)
        edges = np.linspace(values.min(), max(values.max(), values.min() + 1), 31).tolist()
        for number, label in enumerate(classes[:PLOTTED_CLASSES]):
            of_class = values[statistics.labels == number]
            axis.hist(of_class, edges, density=True, histtype="stepfilled", alpha=0.2, color=PALETTE[number])
            axis.hist(of_class, edges, density=True, histtype="step", linewidth=1.4, color=PALETTE[number], label=label)
        axis.set_xlabel(f"{name} of an image, grey levels")
        axis.set_yticks([])
    contrast.legend()
    counted = frame.groupby(["width", "height"]).size()
    width, height = (counted.index.get_level_values(level).to_numpy() for level in (0, 1))
    size.scatter(width, height, s=np.clip(300 * counted.to_numpy() / len(frame), 5, 120), color=PALETTE[0], alpha=0.4, linewidths=0)
    size.set_xlabel("width of a file, pixels")
    size.set_ylabel("height, pixels")
    return figure


def mean_images(statistics: ClassStatistics, classes: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """The mean image of each class; of two classes also their difference, stretched, with grey for none."""
    images = [np.clip(image + 0.5, 0, 255).astype(np.uint8) for image in statistics.mean_images]
    captions = list(classes)
    if len(classes) == 2:
        difference = (statistics.mean_images[1] - statistics.mean_images[0]).mean(-1)
        largest = max(float(np.abs(difference).max()), 1e-6)
        images.append((127.5 + 127.5 * difference / largest).astype(np.uint8))
        captions.append(f"{classes[1]} minus {classes[0]} (±{largest:.0f} levels)")
    return images, captions


def previews(train: Split, classes: list[str], *, seed: int) -> Iterator[tuple[list[np.ndarray], list[str]]]:
    """For each of the first classes a training image followed by `VIEWS` views of it, and their captions."""
    augmentation = Augmentation()
    generator = torch.Generator().manual_seed(seed)
    for label, name in list(enumerate(classes))[:AUGMENTED_CLASSES]:
        row = int(np.flatnonzero(train.labels == label)[0])
        original = train.images[row : row + 1]
        views = augmentation(to_tensor(np.repeat(original, VIEWS, axis=0)), generator).permute(0, 2, 3, 1).numpy()
        yield [original[0], *views], [name, *(f"view {number}" for number in range(1, VIEWS + 1))]
