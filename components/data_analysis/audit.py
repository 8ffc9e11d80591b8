"""What would make the numbers of a later step lie: duplicates, contradicting labels, patients on both sides."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from driftloop.contracts import REFERENCE, STREAM, TEST, TRAIN, VAL
from driftloop.dataset.duplicates import near_duplicate_clusters
from driftloop.dataset.splitting import compile_pattern, group_of, pattern_tags
from driftloop.errors import SettingError
from driftloop.plurals import counted
from driftloop.tags import read_tags_text, tag_problem, tags_problem, tags_text

#: Clusters of near-duplicates that are named, to be shown.
_SHOWN = 50
#: Where an image that a source has in two splits stays: never lost to the side that judges, always to the side that learns.
STRONGEST_FIRST = (TEST, REFERENCE, STREAM, VAL, TRAIN, "")


@dataclass
class AuditFindings:
    """Counts of what the audit met."""

    conflicting: int = 0
    """Images that lie under more than one class."""
    duplicates_within: int = 0
    """Copies of a file of the same split."""
    duplicates_across: int = 0
    """Copies of a file of another split."""
    near_duplicate_clusters: int = 0
    near_duplicate_images: int = 0
    """Images in those clusters."""
    near_duplicates: list[list[str]] = field(default_factory=list)
    """Paths of the first of those clusters."""
    leaking_groups: int = 0
    """Patients or near-duplicates on both sides of the source's own splits."""
    leaking_images: int = 0
    """Those of their images that were left out."""
    merged_val: int = 0
    """Images of a val split that was too small and joined train."""
    notes: list[str] = field(default_factory=list)
    """What the reader must know, in words."""

    @property
    def dropped(self) -> int:
        """Images that were left out, broken files aside."""
        return self.conflicting + self.duplicates_within + self.duplicates_across + self.leaking_images


@dataclass(frozen=True)
class Audited:
    """A source after the audit: what stays, and what the reader must know about it."""

    frame: pd.DataFrame
    """By image that stays: the columns of ingestion, its `group` and its `split`."""
    findings: AuditFindings
    broken: list[tuple[str, str]]
    """Path and reason by unreadable file."""
    notes: list[str]
    """What the reader must know, in words."""
    kept: int
    """Images that stay where an earlier dataset of the store has their group."""


def audit(frame: pd.DataFrame, thumbnails: np.ndarray, *, group_pattern: str, smallest_val: int) -> tuple[pd.DataFrame, AuditFindings]:
    """The rows that stay, with their `group`, their `tags` and the source's own split put right in `source_split`; and the findings.

    Args:
        frame: as ingested; thumbnails: uint8 (N, 16, 16) by row.
        group_pattern: regular expression on the file name, or empty; its further named groups are tags.
        smallest_val: a val split with fewer images becomes part of train.

    Raises:
        SettingError: the pattern's tags are too many, or cannot be used.
    """
    findings = AuditFindings()
    patterns = compile_pattern(group_pattern)
    names = [path.rpartition("/")[2] for path in frame["path"]]
    frame = frame.assign(
        group=[group_of(name, sha, patterns) for name, sha in zip(names, frame["sha256"], strict=True)],
        tags=_tags([pattern_tags(name, patterns) for name in names], frame["tags"]),
    )
    frame = _without_contradictions(frame, findings)
    frame = _without_duplicates(frame, findings)
    frame = _with_joined_groups(frame, thumbnails, findings)
    frame = _with_small_val_in_train(frame, smallest_val, findings)
    return _without_leaks(frame, findings), findings


def _tags(found: list[dict[str, str]], given: pd.Series) -> list[str]:
    """The tags of each file as they are stored: those of its name and those of tags.csv, which counts where both have one."""
    every = [tags | read_tags_text(text) for tags, text in zip(found, given, strict=True)]
    problem = next(filter(None, (tag_problem(*tag) for tags in found for tag in tags.items())), "") or tags_problem(every)
    if problem:
        raise SettingError(f"data_config.group_pattern: {problem}")
    return [tags_text(tags) for tags in every]


def _without_contradictions(frame: pd.DataFrame, findings: AuditFindings) -> pd.DataFrame:
    """The same file under two classes: neither label can be believed."""
    labels = frame.groupby("sha256")["label"].transform("nunique")
    findings.conflicting = int((labels > 1).sum())
    if findings.conflicting:
        findings.notes.append(f"{findings.conflicting} images lie under more than one class and were left out.")
    return frame[labels == 1]


def _without_duplicates(frame: pd.DataFrame, findings: AuditFindings) -> pd.DataFrame:
    """One of each file: the one in the strongest split, there the first by path."""
    ordered = frame.assign(rank=_rank(frame["source_split"])).sort_values(["rank", "path"], kind="stable")
    repeated = ordered.duplicated("sha256")
    strongest = ordered.groupby("sha256")["rank"].transform("first")
    across = repeated & (ordered["rank"] != strongest)
    findings.duplicates_across, findings.duplicates_within = int(across.sum()), int((repeated & ~across).sum())
    if findings.duplicates_across:
        images = counted(findings.duplicates_across, "image was in two splits; it stays", "images were in two splits; they stay")
        findings.notes.append(f"{images} on the side that judges.")
    return frame.loc[ordered.index[~repeated].sort_values()]


def _with_joined_groups(frame: pd.DataFrame, thumbnails: np.ndarray, findings: AuditFindings) -> pd.DataFrame:
    """Near-duplicates join their groups into one, named by the first of their names."""
    clusters = near_duplicate_clusters(thumbnails[frame.index.to_numpy()])
    sizes = np.bincount(clusters)
    findings.near_duplicate_clusters = int((sizes > 1).sum())
    findings.near_duplicate_images = int(sizes[sizes > 1].sum())
    findings.near_duplicates = [frame["path"].to_numpy()[clusters == number].tolist() for number in np.flatnonzero(sizes > 1)[:_SHOWN]]
    groups, names = pd.factorize(frame["group"], sort=True)
    # A graph of images' groups and clusters: what hangs together is one group.
    count = len(names) + len(sizes)
    links = coo_matrix((np.ones(len(groups)), (groups, len(names) + clusters)), shape=(count, count))
    part = connected_components(links, directed=False)[1][: len(names)]
    first = pd.Series(names).groupby(part).transform("min").to_numpy()
    largest = int(np.bincount(part[groups]).max())
    if len(frame) >= 100 and largest > len(frame) / 10:
        findings.notes.append(f"One group holds {largest / len(frame):.0%} of the images; splits will be uneven.")
    return frame.assign(group=first[groups])


def _with_small_val_in_train(frame: pd.DataFrame, smallest_val: int, findings: AuditFindings) -> pd.DataFrame:
    val = frame["source_split"] == VAL
    count = int(val.sum())
    if 0 < count < smallest_val and (frame["source_split"] == TRAIN).any():
        findings.merged_val = count
        findings.notes.append(
            f"The source's val split has {count} images, too few to choose a model by: they joined train, and val was cut anew from it."
        )
        return frame.assign(source_split=frame["source_split"].where(~val, TRAIN))
    return frame


def _without_leaks(frame: pd.DataFrame, findings: AuditFindings) -> pd.DataFrame:
    """A group in several of the source's splits keeps its images in the strongest of them."""
    rank = _rank(frame["source_split"])
    strongest = rank.groupby(frame["group"]).transform("min")
    leaking = rank != strongest
    findings.leaking_images = int(leaking.sum())
    findings.leaking_groups = int(frame.loc[leaking, "group"].nunique())
    if findings.leaking_images:
        groups = counted(findings.leaking_groups, "patient or near-duplicate was", "patients or near-duplicates were")
        images = counted(findings.leaking_images, "image of these was", "of their images were")
        findings.notes.append(f"{groups} on both sides of the source's own splits; {images} left out of the weaker side (train first).")
    return frame[~leaking]


def _rank(splits: pd.Series) -> pd.Series:
    return splits.map({split: rank for rank, split in enumerate(STRONGEST_FIRST)})
