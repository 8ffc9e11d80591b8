"""The data report: what came in, what was wrong with it, what went where, and what it looks like."""

from collections.abc import Mapping

import numpy as np

from components.data_analysis import figures
from components.data_analysis.analysis import Analysis
from components.data_analysis.augmentation_preview import previews
from driftloop.reporting import Page

_LISTED = 20
PURPOSES = {
    "train": "learning",
    "val": "choice of the model, calibration",
    "test": "the gate; touched by nothing else",
    "reference": "what production is compared with",
    "stream": "replayed as traffic in demos",
}


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
        "Splits are by patient or site, through a hash of its name: nobody is on two sides, the seed plays no part, and adding images does "
        "not move the others. Splits that a source brings are kept.",
    )
    page.figure(figures.balance(analysis.counts, analysis.description.classes), "Images by split and class")
    groups = analysis.audited.frame.groupby("split")["group"].nunique()
    rows: list[Mapping[str, object]] = [
        {"split": split, "images": sum(by_class.values()), "groups": int(groups[split]), "used for": PURPOSES[split]}
        for split, by_class in analysis.counts.items()
    ]
    page.table(rows)


def _looks(page: Page, analysis: Analysis) -> None:
    page.section("What it looks like")
    for label, name in list(enumerate(analysis.description.classes))[:10]:
        rows = np.flatnonzero(analysis.train.labels == label)
        chosen = np.random.default_rng([analysis.seed, label]).permutation(rows)[:8]
        page.gallery([analysis.train.images[row] for row in chosen], [""] * len(chosen), f"{name}: random training images")
    images, captions = figures.mean_images(analysis.statistics, analysis.description.classes)
    page.gallery(images, captions, "Mean training image by class: where classes differ on average", side=128)
    page.figure(
        figures.distributions(analysis.statistics, analysis.audited.frame, analysis.description.classes),
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
        shown = analysis.audited.broken[:_LISTED]
        caption = (
            f"Broken files ({len(shown)} of {len(analysis.audited.broken)}; facts.json lists more)"
            if len(analysis.audited.broken) > _LISTED
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
