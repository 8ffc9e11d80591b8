"""`driftloop init`: look at a folder of labelled images, and write the configuration of its first run, with what was seen as comments."""

import hashlib
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist, median
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from driftloop.cli.arguments import print_json
from driftloop.contracts import SPLITS, STREAM, TEST
from driftloop.errors import InputError
from driftloop.plurals import counted
from driftloop.settings import PARAMETERS, STREAM_SHARE, DataSettings, check_parameter

if TYPE_CHECKING:
    from driftloop.sources import SourceFile

#: Files whose size and colours are looked at, evenly over all.
SAMPLED = 300
#: Sides that are proposed: the largest of them that most images fill.
SIDES = (32, 64, 96, 128, 224)
#: The share of images on which two models of about the same accuracy often disagree; `make run` has 4 % between its versions.
DISAGREEMENT = 0.06
#: No more of the images are proposed for the gate: what it can show grows by a root only, and training needs them too.
MOST_FOR_TEST = 0.25
#: The gate's bound is one-sided at 95 %, and should be met in 80 of 100 cases.
_CONFIDENCE, _POWER = 0.95, 0.80


@dataclass(frozen=True)
class Survey:
    """What a look at a folder's names, and at the headers of some files, tells."""

    folder: str
    """As it was given."""
    images: dict[str, int]
    """By class."""
    own_splits: dict[str, int]
    """Images in each split that the folder has itself."""
    sizes: str
    """Sides of the sampled images, in words."""
    colour: bool
    """Whether a sampled image has colours."""
    unreadable: int
    """Of the sampled images."""
    image_size: int
    """The side that is proposed."""
    named_groups: int
    """Patients or sites that the file names tell; 0 where they tell none."""
    tags: dict[str, int]
    """Levels of each tag that tags.csv brings."""
    test_share: float
    """The share of the test split that is proposed: what the gate's power needs, from the default to `MOST_FOR_TEST`."""
    splits: dict[str, tuple[int, int]]
    """Images and groups of each split as it would be cut, where no traffic is replayed."""
    replayed: int
    """Images that a full loop takes out of those for training, for its replay."""
    notes: list[str]
    """What could hardly be decided with so many images and groups, a sentence each."""
    gate: str
    """What the gate can show on the test split, in words."""


def init(
    folder: Annotated[Path, typer.Argument(help="A folder of <class>/*.jpg or <split>/<class>/*.jpg.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("driftloop.yaml"),
    group_pattern: Annotated[str, typer.Option(help="Regular expression whose first group names the patient or site.")] = "",
    classes: Annotated[str, typer.Option(help="Classes that file names tell, separated by commas; without it the folders.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was seen as JSON, and nothing else; write no file.")] = False,
) -> None:
    """Look at a folder of images and write a commented configuration: classes, sizes, groups, splits, and what they can decide."""
    survey = look_at(folder, group_pattern, classes)
    if as_json:
        print_json(asdict(survey))
        return
    if output.exists():
        raise InputError(f"{output}: is there already; name another file with --output, or remove it")
    output.write_text(configuration(survey, group_pattern, classes), encoding="utf-8")
    console = Console(highlight=False)
    for line in (*told(survey), *survey.notes):
        console.print(escape(line), soft_wrap=True)
    console.print(f"wrote [bold]{escape(str(output))}[/]; next: driftloop run full-loop --config {escape(str(output))}", soft_wrap=True)


def look_at(folder: Path, group_pattern: str = "", classes: str = "") -> Survey:
    """Look at the names of all files and the headers of some; the images themselves are read by the run.

    Raises:
        InputError: no such folder, a layout or a number of images that a run would refuse, or images that cannot be read.
        SettingError: the pattern is not a regular expression with a group.
    """
    from driftloop.dataset.splitting import CONTENT, compile_pattern, group_of  # these load pandas, for which other commands need not wait
    from driftloop.sources.folder import folder_to_give, list_folder, unread_note
    from driftloop.sources.tags_file import with_tags
    from driftloop.tags import levels_by_tag

    if folder.is_file():
        raise InputError(f"{folder}: is a file; unpack it and give the folder, or run it as it is with --source {folder}")
    settings = DataSettings.complete({"group_pattern": group_pattern, "classes": classes})
    listing = list_folder(folder, settings.classes)
    files = with_tags(folder, listing.files)
    patterns = compile_pattern(group_pattern)
    groups = [group_of(file.path.rpartition("/")[2], _stand_in(file.path), patterns) for file in files]
    named = {group for group in groups if not group.startswith(CONTENT)}
    sides, colour, unreadable = _read_headers(folder, files)
    share = proposed_test_share(len(set(groups)), settings) if TEST not in {file.split for file in files} else settings.test_share
    settings = settings.model_copy(update={"test_share": share})
    inner = folder_to_give(files, str(folder))
    try:
        splits, notes = _cut(files, groups, settings, str(folder), replayed=False)
    except InputError as error:
        raise InputError(f"{error}{inner}") from None
    notes += unread_note(listing.unread)
    if inner:
        notes.append(f"{', '.join(sorted({file.label for file in files})[:5])} are taken for the classes{inner}.")
    smallest = min(sides)
    if smallest < PARAMETERS["data_image_size"].default:
        notes.append(f"The smallest sampled image has {smallest} pixels a side: enlarged images show no more than they hold.")
    return Survey(
        folder=str(folder),
        images=dict(sorted(Counter(file.label for file in files).items())),
        own_splits=dict(Counter(file.split for file in files if file.split)),
        sizes=f"{smallest} to {max(sides)} pixels, median {median(sides):.0f}",
        colour=colour,
        unreadable=unreadable,
        image_size=max((side for side in SIDES if side <= median(sides)), default=SIDES[0]),
        named_groups=len(named),
        tags={name: len(set(levels) - {""}) for name, levels in levels_by_tag([file.tags for file in files]).items()},
        test_share=share,
        splits=splits,
        replayed=_cut(files, groups, settings, str(folder), replayed=True)[0][STREAM][0] - splits[STREAM][0],
        notes=notes,
        gate=gate_phrase(*splits[TEST]),
    )


def _stand_in(path: str) -> str:
    """A hash that only this path has, for that of the content, which is not read here."""
    return hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()


def _read_headers(folder: Path, files: "list[SourceFile]") -> tuple[list[int], bool, int]:
    """The shorter sides of some images, whether one has colours, and how many cannot be opened."""
    from PIL import Image

    sides, colour, unreadable = [], False, 0
    for file in files[:: max(1, len(files) // SAMPLED)]:
        try:
            with Image.open(folder / file.path) as image:
                sides.append(min(image.size))
                colour |= image.mode not in ("1", "L", "LA", "I", "I;16", "F")
        except (OSError, ValueError, Image.DecompressionBombError):
            unreadable += 1
    if not sides:
        raise InputError(f"{folder}: none of {unreadable} sampled images can be opened; are these image files?")
    return sides, colour, unreadable


def _cut(
    files: "list[SourceFile]", groups: list[str], settings: DataSettings, source: str, *, replayed: bool
) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Images and groups of each split, and what could hardly be decided by them."""
    import pandas as pd

    from components.data_analysis.splits import assign_splits, check_decidable

    frame = pd.DataFrame({"source_split": [file.split for file in files], "group": groups, "label": [file.label for file in files]})
    frame = assign_splits(frame, settings.shares(replayed=replayed), source)
    parts = {split: frame[frame["split"] == split] for split in SPLITS}
    return {split: (len(part), part["group"].nunique()) for split, part in parts.items()}, check_decidable(frame, source)


def shown_loss(groups: int) -> float:
    """The loss of accuracy that the gate can mostly exclude for an equal candidate, as a share, with that many independent test images.

    Of a paired difference whose images disagree with `DISAGREEMENT`, by the normal approximation: for 80 % of equal candidates from some
    hundred images on; at 100 the gate's score interval is wider, and shows it for 72 % (`test_init.py`).
    """
    normal = NormalDist()
    return (normal.inv_cdf(_CONFIDENCE) + normal.inv_cdf(_POWER)) * math.sqrt(DISAGREEMENT / groups)


def least_loss(groups: int) -> float:
    """The loss that Tango's bound never excludes with that many independent test images, whatever they show: z^2 / (n + z^2)."""
    z = NormalDist().inv_cdf(_CONFIDENCE)
    return z**2 / (groups + z**2)


def needed_groups() -> int:
    """How many independent test images the gate's default margin takes."""
    return math.ceil((shown_loss(1) / PARAMETERS["gate_margin"].default) ** 2)


def proposed_test_share(groups: int, settings: DataSettings) -> float:
    """The share of all groups that gives the gate the test images which its margin needs, in percents, within the limits."""
    needed = math.ceil(100 * needed_groups() / groups) / 100
    return max(settings.test_share, min(needed, MOST_FOR_TEST))


def gate_phrase(images: int, groups: int) -> str:
    """What the gate can show on a test split of that many images and groups, and how many its margin would take.

    Of several images a group no more is promised than of one: how alike they are no name tells.
    """
    margin = PARAMETERS["gate_margin"].default
    wanted, shared = needed_groups(), groups < images
    have = (
        f"{images:,} test images of {counted(groups, 'patient or site', 'patients or sites')}"
        if shared
        else f"{groups:,} independent test images"
    )
    able = (
        f"the gate can mostly show that an equal candidate loses less than {100 * max(shown_loss(groups), least_loss(groups)):.1f} points"
    )
    enough = "enough for" if wanted <= groups else f"about {wanted:,} {'patients or sites ' if shared else ''}would do for"
    return f"With {have} {able} on clean images: {enough} its margin of {100 * margin:g} points."


def told(survey: Survey) -> list[str]:
    """What was seen, a sentence each."""
    total = sum(survey.images.values())
    classes = ", ".join(f"{name} {count:,}" for name, count in list(survey.images.items())[:20])
    more = f", and {len(survey.images) - 20} more" if len(survey.images) > 20 else ""
    own = ", ".join(f"{split} {count:,}" for split, count in survey.own_splits.items())
    groups = (
        f"{survey.named_groups:,} patients or sites by their file names; the images of one stay on one side of every split"
        if survey.named_groups
        else "none by their file names: each image counts by itself. If several show one patient or site, say how names tell them: "
        "data_config.group_pattern"
    )
    tags = ", ".join(f"{name} ({counted(levels, 'level')})" for name, levels in survey.tags.items())
    broken = f"; {survey.unreadable} of the sampled ones cannot be opened" if survey.unreadable else ""
    return [
        f"{total:,} images of {len(survey.images)} classes: {classes}{more}",
        f"sizes: {survey.sizes}, {'colour' if survey.colour else 'grey'}{broken}",
        f"groups: {groups}",
        *([f"tags: {tags} (tags.csv); a watch also looks at each level by itself"] if survey.tags else []),
        f"splits of its own: {own or 'none'}",
        "splits of the run: "
        + ", ".join(f"{split} {images:,}" for split, (images, _) in survey.splits.items() if images)
        + (f"; a full loop keeps {survey.replayed:,} of those for training for its replay" if survey.replayed else ""),
        survey.gate,
    ]


def configuration(survey: Survey, group_pattern: str, classes: str = "") -> str:
    """The file that `--config` reads, with what was seen as comments."""
    seen = "\n".join(f"# {line}" for line in (*told(survey), *survey.notes))
    epochs = check_parameter("train_epochs", PARAMETERS["train_epochs"].default)
    pattern = f"  group_pattern: {json.dumps(group_pattern)}\n" if group_pattern else '  # group_pattern: "(patient\\\\d+)"\n'
    named = f"  # The classes that file names tell.\n  classes: {json.dumps(classes)}\n" if classes else ""
    return (
        f"# What `driftloop init {survey.folder}` saw:\n{seen}\n#\n# `driftloop config list` shows everything else that can be set.\n"
        f"data_source: {json.dumps(str(Path(survey.folder).resolve()))}\n"
        f"# Side in pixels that images are resized to: larger shows more and trains slower, by its square.\n"
        f"data_image_size: {survey.image_size}\n"
        f"train_epochs: {epochs}\n"
        f"# The drift that a full loop replays, to try the watch before production does.\n"
        f"traffic_drift: {PARAMETERS['traffic_drift'].default}\n"
        f"# The loss of accuracy on clean images that the gate accepts.\n"
        f"gate_margin: {PARAMETERS['gate_margin'].default}\n"
        f"data_config:\n{named}"
        f"  # A regular expression on the file name whose first group is the patient or site.\n{pattern}"
        f"  # What these leave is for training; a full loop keeps {STREAM_SHARE:g} of all (stream_share) for its replay.\n"
        f"  val_share: {DataSettings().val_share:g}\n"
        f"  # For the gate: as many as its margin needs, within {DataSettings().test_share:g} to {MOST_FOR_TEST:g}.\n"
        f"  test_share: {survey.test_share:g}\n"
        f"  reference_share: {DataSettings().reference_share:g}\n"
    )
