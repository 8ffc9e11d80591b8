"""The data report: what came in, what was wrong with it, what went where, what it looks like, and how fast training gets it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from components.data_analysis.doubts import LARGE, apart_by_more_than_chance, largest_distance, outliers
from components.data_analysis.label_errors import AGREEMENT, LabelCheck
from components.data_analysis.statistics import Analysis, ClassStatistics
from driftloop.contracts import FACTS, REFERENCE, STREAM, TEST, TRAIN, VAL
from driftloop.evaluation.classification import MOST_CLASSES
from driftloop.plurals import counted
from driftloop.reporting import Page
from driftloop.reporting.plot_style import MUTED, PALETTE, axes
from driftloop.reporting.wording import balance_sentence, extremes, percent

#: What each split is used for.
PURPOSES = {
    TRAIN: "learning",
    VAL: "choice of the model, calibration",
    TEST: "the gate; touched by nothing else",
    REFERENCE: "what production is compared with",
    STREAM: "replayed as traffic in demos",
}
#: Classes that a figure can tell apart, and that get a gallery of their own.
PLOTTED_CLASSES, GALLERY_CLASSES = 6, 10
#: Images in a gallery of a class.
GALLERY_IMAGES = 8
#: Suspected labels that are shown.
SUSPECTED_IMAGES = 12
#: Broken files that the page lists.
LISTED_FILES = 20


def build_report(analysis: Analysis) -> Page:
    """The page, from the overview to the details."""
    page = Page("Data report", lead=_lead(analysis), question="Are these images fit to train, choose and judge a model on?")
    _overview(page, analysis)
    _doubts(page, analysis)
    _splits(page, analysis)
    _looks(page, analysis)
    _statistics(page, analysis)
    _checks(page, analysis)
    _training(page, analysis)
    page.conclude(_result(analysis), limits=_limits(analysis), decision=_decision(analysis))
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


def _result(analysis: Analysis) -> str:
    findings, notes = analysis.audited.findings, len(analysis.audited.notes) + len(analysis.doubts)
    left_out = findings.dropped + len(analysis.audited.broken)
    doubts = (
        "Nothing was found that would make later figures doubtful."
        if not notes
        else f"{counted(notes, 'finding')} that a reader must know {'are' if notes > 1 else 'is'} listed below."
    )
    return f"{sum(analysis.description.counts.values()):,} images are used and {left_out:,} were left out. {doubts}"


def _decision(analysis: Analysis) -> str:
    counts = analysis.description.counts
    return (
        f"Models learn from {counts.get(TRAIN, 0):,} images, are chosen on {counts.get(VAL, 0):,} and judged on {counts.get(TEST, 0):,}; "
        f"production is compared with {counts.get(REFERENCE, 0):,} images that take no part in training."
    )


def _limits(analysis: Analysis) -> list[str]:
    groups, images = analysis.audited.frame["group"].nunique(), len(analysis.audited.frame)
    limits = [_label_limit(analysis.checked)]
    if groups == images:
        limits.append(
            "No two images share a group: if several do show one patient or site, the file names do not say so, and "
            "`data_config.group_pattern` "
            "has to; otherwise one patient may be on two sides, and intervals are too narrow."
        )
    if analysis.description.source.startswith("synthetic"):
        limits.append("These images are drawn by a program: they show how the loop works, not how well a model would do on real ones.")
    return limits


def _label_limit(checked: LabelCheck | None) -> str:
    taken = "Labels are taken as they are: the audit finds the same file under two classes"
    if checked is None:
        return f"{taken}, and whether single ones are wrong was not looked for."
    if checked.agreement < AGREEMENT:
        return (
            f"{taken}; a model that saw {checked.seen_by} of {checked.images:,} training images agrees with their labels too little to say "
            f"which are wrong (Cohen's kappa {checked.agreement:.2f}, {AGREEMENT} at least)."
        )
    return (
        f"{taken}; which of {checked.images:,} training images look like another class is what a model of {checked.seen_by} says "
        f"(Cohen's kappa with the labels {checked.agreement:.2f}): wrong labels and hard images look alike to it."
    )


def _overview(page: Page, analysis: Analysis) -> None:
    page.tiles(
        {
            "images": sum(analysis.description.counts.values()),
            "classes": len(analysis.description.classes),
            "left out": analysis.audited.findings.dropped,
            "broken files": len(analysis.audited.broken),
            "to look at": len(analysis.doubts),
        }
    )
    for note in analysis.audited.notes:
        page.notice(note, "warning")


def _doubts(page: Page, analysis: Analysis) -> None:
    page.section("What to look at")
    if not analysis.doubts:
        page.text(
            "The splits have the classes alike as far as can be tested, neither the shape of the pictures nor a simple statistic tells the "
            "classes apart, and no training image is far from all others of its class or looks like another one."
        )
        return
    rows: list[Mapping[str, object]] = [{"finding": doubt.finding, "what to do": doubt.advice} for doubt in analysis.doubts]
    page.table(rows, "What a person should look at before trusting a model of these images, the gravest first.", key="data-doubts")
    suspected = analysis.checked
    if suspected is not None and len(suspected.rows):
        classes = analysis.description.classes
        captions = [
            f"{_file(analysis, row)}: {classes[analysis.train.labels[row]]}, looks like {classes[like]}"
            for row, like in zip(suspected.rows[:SUSPECTED_IMAGES], suspected.looks_like[:SUSPECTED_IMAGES], strict=True)
        ]
        images = [analysis.train.images[row] for row in suspected.rows[:SUSPECTED_IMAGES]]
        page.gallery(images, captions, "Training images that look like another class, the most suspected first.", key="data-labels")
        page.text(
            f"In [[data-labels]] are the first {len(images)} of {len(suspected.rows):,}; `facts.json` lists more, with their files. Each "
            "was judged by a model that was fitted to images of other groups (confident learning). A label is to be changed by whoever "
            "knows the image, not because a model would like it better."
        )
    rows_far = outliers(analysis.statistics.statistics, analysis.statistics.labels)[:GALLERY_IMAGES]
    if len(rows_far):
        images = [analysis.train.images[row] for row in rows_far]
        captions = [_file(analysis, row) for row in rows_far]
        page.gallery(images, captions, "Training images farthest from the others of their class.", key="data-outliers")


def _file(analysis: Analysis, row: int) -> str:
    return str(analysis.train.samples["path"].iloc[row]).rpartition("/")[2]


def _near_duplicates(page: Page, analysis: Analysis) -> None:
    """The first clusters that lie in train, side by side."""
    row_of = {path: row for row, path in enumerate(analysis.train.samples["path"])}
    clusters = [[path for path in cluster if path in row_of][:2] for cluster in analysis.audited.findings.near_duplicates]
    shown = [path for cluster in clusters if len(cluster) == 2 for path in cluster][:GALLERY_IMAGES]
    if shown:
        images = [analysis.train.images[row_of[path]] for path in shown]
        page.gallery(images, [path.rpartition("/")[2] for path in shown], "Near-duplicates in train, in pairs.", key="data-near")


def _splits(page: Page, analysis: Analysis) -> None:
    page.section(
        "What goes where",
        "Splits are by patient or site: nobody is on two sides, and the seed plays no part. Many are split by a hash of the name, few are "
        "balanced by size and class. Whom the champion's dataset knows (before the first champion: the store's newest, cut by the same "
        f"shares) stays where he is: {analysis.audited.kept:,} images here. Splits that a source brings are kept.",
    )
    classes = analysis.description.classes
    caption = "Images by split and class." if len(classes) <= MOST_CLASSES else f"Images by split, of {len(classes)} classes."
    page.figure(balance(analysis.counts, classes), caption, key="data-balance")
    groups = analysis.audited.frame.groupby("split")["group"].nunique()
    total = sum(analysis.description.counts.values())
    rows: list[Mapping[str, object]] = [
        {
            "split": split,
            "images": sum(by_class.values()),
            "share": percent(sum(by_class.values()) / total),
            "groups": int(groups[split]),
            "used for": PURPOSES[split],
        }
        for split, by_class in analysis.counts.items()
    ]
    page.table(rows, "The splits, and what each is used for.", key="data-splits")
    page.text(f"[[data-balance]] and [[data-splits]]: {balance_sentence(analysis.counts[TRAIN])} {_imbalance(analysis)}")
    page.text(
        "A split is used for one thing only. Choosing an epoch, a learning rate or a temperature on images makes the figure on "
        "those images "
        "too good, by an amount that nobody knows; the test split therefore chooses nothing, and each look of a gate at it is counted. "
        "The reference stands apart as well, since a model's embeddings of images that it was trained on are not those of new ones."
    )


def _imbalance(analysis: Analysis) -> str:
    """Whether the splits have the classes in the same shares."""
    classes = analysis.description.classes
    shares = {
        split: {name: by_class[name] / max(1, sum(by_class.values())) for name in classes} for split, by_class in analysis.counts.items()
    }
    spread = {name: max(of[name] for of in shares.values()) - min(of[name] for of in shares.values()) for name in classes}
    worst = max(spread, key=lambda name: spread[name])
    if spread[worst] < 0.05:
        return f"All splits have the classes in nearly the same shares (they differ by at most {100 * spread[worst]:.1f} points)."
    least, most = (pick(shares, key=lambda split: shares[split][worst]) for pick in (min, max))
    return (
        f"The splits differ in their mix: {worst} makes {percent(shares[least][worst])} of {least} and "
        f"{percent(shares[most][worst])} of {most}; "
        "accuracies of different splits are not to be compared as if they were of the same images."
    )


def _looks(page: Page, analysis: Analysis) -> None:
    page.section("What it looks like")
    classes = analysis.description.classes
    page.text(
        "The images below were drawn at random from the training split, so they are neither the best nor the worst of their "
        "class. What the "
        "packed dataset holds is what the network sees: scaled to the model's size, as bytes."
    )
    for label, name in list(enumerate(classes))[:GALLERY_CLASSES]:
        rows = np.flatnonzero(analysis.train.labels == label)
        chosen = np.random.default_rng([analysis.seed, label]).permutation(rows)[:GALLERY_IMAGES]
        page.gallery([analysis.train.images[row] for row in chosen], [""] * len(chosen), f"{name}: random training images.")
    images, captions = mean_images(analysis.statistics, classes)
    caption = "Mean training image by class: where classes differ on average."
    if len(classes) > MOST_CLASSES:
        caption = f"Mean training image of the first {MOST_CLASSES} of {len(classes)} classes."
    page.gallery(images, captions, caption, side=128, key="data-means")
    if len(classes) == 2:
        difference = np.abs((analysis.statistics.mean_images[1] - analysis.statistics.mean_images[0]).mean(-1))
        row, column = divmod(int(difference.argmax()), difference.shape[1])
        place = " and ".join(
            (_place(row, len(difference), "the upper", "the lower"), _place(column, difference.shape[1], "the left", "the right"))
        )
        page.text(
            f"In [[data-means]] the mean images differ by {difference.mean():.1f} grey levels on average over the positions and by "
            f"{difference.max():.0f} at most, in {place} part of the image. A difference of the means that is large at the border or in a "
            "corner would be a reason to look for a marker, a frame or another device in one of the classes; one inside the object is what "
            "the task is about."
        )


def _place(position: int, side: int, low: str, high: str) -> str:
    return low if position < side / 3 else high if position >= 2 * side / 3 else "the middle"


def _statistics(page: Page, analysis: Analysis) -> None:
    """Whether a simple statistic tells the classes apart, which a network would learn in place of the task."""
    statistics, classes = analysis.statistics, analysis.description.classes
    page.section("Statistics of the training images")
    page.figure(
        distributions(statistics, analysis.audited.frame, classes),
        "Brightness and contrast of training images by class (one that these tell may come from another device); right: sizes of "
        "the files.",
        key="data-distributions",
    )
    apart = {name: largest_distance(statistics.column(name), statistics.labels) for name in statistics.names}
    page.table(
        [
            {
                "statistic": name,
                "mean": float(statistics.column(name).mean()),
                "SD": float(statistics.column(name).std()),
                "least": float(statistics.column(name).min()),
                "greatest": float(statistics.column(name).max()),
                "classes apart, SD": apart[name],
            }
            for name in statistics.names
        ],
        "Statistics of each training image; right: the largest distance of two classes' means, in standard deviations within a class.",
        key="data-statistics",
    )
    strongest = max(apart, key=lambda name: apart[name])
    by_chance = apart[strongest] >= LARGE and not apart_by_more_than_chance(statistics.column(strongest), statistics.labels)
    page.text(
        f"[[data-statistics]]: the statistic that tells the classes best is {strongest}, whose class means are "
        f"{apart[strongest]:.2f} standard "
        f"deviations apart. {_separation_reading(apart[strongest], by_chance=by_chance)} The same {len(apart)} statistics are measured "
        "of every request in production, and the drift tests compare them with the reference."
    )
    page.figure(grey_levels(statistics.histogram), "Grey levels of all training images.", key="data-levels")
    page.text(f"[[data-levels]]: {levels_sentence(statistics.histogram)}")


def _separation_reading(distance: float, *, by_chance: bool) -> str:
    """Cohen's d in words, after his conventions (1988)."""
    if by_chance:
        return "So many classes of so few images lie as far apart by chance: it says nothing."
    if distance < 0.2:
        return "That is less than a small effect (0.2): no single statistic gives the class away."
    if distance < 0.8:
        return "That is a small to medium effect: it helps a little, and cannot explain a high accuracy by itself."
    return (
        "That is a large effect (0.8 and more): a network may learn it in place of what the images show, and a change of light or "
        "device in "
        "production would then mislead it; the drift tests watch it for that reason."
    )


def levels_sentence(histogram: np.ndarray) -> str:
    """Where the grey levels lie, and how much is cut off at black and white."""
    counts = histogram.sum(0).astype(np.float64)
    shares = counts / max(1.0, counts.sum())
    median = int(np.searchsorted(np.cumsum(shares), 0.5))
    low, high = (int(np.searchsorted(np.cumsum(shares), share)) for share in (0.05, 0.95))
    cut = float(shares[0] + shares[255])
    reading = "so under- or overexposure hides next to nothing" if cut < 0.01 else "which is detail that no network can bring back"
    return (
        f"The median level is {median} of 255, and nine tenths of the pixels lie between {low} and {high}. {percent(cut)} of the "
        "pixels are "
        f"fully black or fully white, {reading}."
    )


def grey_levels(histogram: np.ndarray) -> Figure:
    """The share of pixels at each grey level, by channel."""
    figure, (axis,) = axes(7.0, 2.3)
    names = ("grey",) if len(histogram) == 1 else ("red", "green", "blue")
    colours = (MUTED,) if len(histogram) == 1 else (PALETTE[3], PALETTE[2], PALETTE[0])
    for channel, (name, colour) in zip(histogram, zip(names, colours, strict=True), strict=True):
        axis.plot(np.arange(256), 100 * channel / max(1, channel.sum()), color=colour, linewidth=1.2, label=name)
    axis.set_xlabel("grey level")
    axis.set_ylabel("% of pixels")
    axis.set_ylim(bottom=0)
    if len(names) > 1:
        axis.legend()
    return figure


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
                "what was done": f"{counted(findings.leaking_images, 'image')} left out of the weaker side",
            },
        ],
        "The audit: what was looked for, what was found, and what was done about it.",
        key="data-audit",
    )
    page.text(f"[[data-audit]]: {audit_sentence(findings.dropped, len(analysis.audited.broken), findings.near_duplicate_images)}")
    _near_duplicates(page, analysis)
    if analysis.audited.broken:
        shown = analysis.audited.broken[:LISTED_FILES]
        caption = (
            f"Broken files ({len(shown)} of {len(analysis.audited.broken)}; {FACTS} lists more)"
            if len(analysis.audited.broken) > LISTED_FILES
            else "Broken files"
        )
        page.table([{"file": path, "reason": reason} for path, reason in shown], caption)


def audit_sentence(dropped: int, broken: int, near: int) -> str:
    """What the audit's counts mean for the figures that follow."""
    parts = []
    if not dropped and not broken and not near:
        parts.append("No check found anything.")
    if dropped:
        images = counted(dropped, "image was left out because its", "images were left out because their")
        parts.append(f"{images} presence would have made later accuracies look better or worse than they are.")
    if broken:
        parts.append(
            f"{counted(broken, 'file')} cannot be read; if one class or site has most of them, what is left is no longer a fair sample."
        )
    if near:
        parts.append(
            f"{near:,} images are nearly the same as another one; in two splits they would let a model be judged on what it has "
            "learnt by heart."
        )
    parts.append(
        "Leaks are the usual reason why a model is worse in production than on paper; they cannot be seen in its curves, so they "
        "are looked "
        "for before anything is trained."
    )
    return " ".join(parts)


def _training(page: Page, analysis: Analysis) -> None:
    page.section("Loader")
    loader = analysis.loader
    if loader is None:
        page.text("No file could be opened any more once the dataset was packed: how fast they are read was not measured.")
        return
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
        f"Getting normalised batches of 64, measured in this run: {loader.images} training images, one thread, files cached in memory.",
        key="data-loader",
    )
    rates = {"packed bytes": loader.packed.images_per_second, "decoded files": loader.files.images_per_second}
    page.text(
        f"[[data-loader]]: {extremes('the rate in images a second', rates, '{:,.0f}')} Reading and decoding is paid once, when the dataset "
        "is packed, and not in every epoch. Both rates are without the network, with all files in memory: they say what decoding costs, "
        "not how long a training takes. That is told by the images a second of the trainings, from here to the weights, in their chapters."
    )


def balance(counts: dict[str, dict[str, int]], classes: list[str]) -> Figure:
    """Images by split, stacked by class where a legend can name them all."""
    if len(classes) > MOST_CLASSES:
        counts, classes = {split: {"": sum(of.values())} for split, of in counts.items()}, [""]
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
    if len(classes) > 1:
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
    """The mean image of each class, of the first `MOST_CLASSES`; of two classes also their difference, stretched, with grey for none."""
    images = [np.clip(image + 0.5, 0, 255).astype(np.uint8) for image in statistics.mean_images[:MOST_CLASSES]]
    captions = list(classes[:MOST_CLASSES])
    if len(classes) == 2:
        difference = (statistics.mean_images[1] - statistics.mean_images[0]).mean(-1)
        largest = max(float(np.abs(difference).max()), 1e-6)
        images.append((127.5 + 127.5 * difference / largest).astype(np.uint8))
        captions.append(f"{classes[1]} minus {classes[0]} (±{largest:.0f} levels)")
    return images, captions
