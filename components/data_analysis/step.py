"""The step `data_analysis`: from labelled image files to a packed, audited dataset and a report on it (theme 1).

Whether the store's champion could be followed by a model of this source is said here, before an hour of training, not by the gate after it.
"""

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data_analysis.audit import Audited, audit
from components.data_analysis.blocks import Blocks
from components.data_analysis.earlier_splits import earlier_splits
from components.data_analysis.ingest import Ingested, check_broken, ingest, pack, printable, reading_notes
from components.data_analysis.splits import assign_splits, check_decidable, check_replayable
from driftloop import registry, runtime
from driftloop.bundle import schema_problems
from driftloop.contracts import BLOCKS, DATA_ANALYSIS, TRAIN
from driftloop.dataset import Description, open_split, write_description
from driftloop.deliverables import write_baseline_metrics
from driftloop.errors import InputError
from driftloop.plurals import counted
from driftloop.reporting.chapter import write_chapter
from driftloop.settings import DataSettings, check_parameter, critical_names
from driftloop.sources import Opened, is_folder, opened
from driftloop.sources.folder import check_counts, unread_note
from driftloop.sources.s3 import stamp_of
from driftloop.step_facts import write_facts
from driftloop.store import Store, open_store
from driftloop.tracking import leave_record

if TYPE_CHECKING:
    from components.data_analysis.statistics import Analysis


def check_champion(store: Store, classes: list[str], image_size: int, resize: str) -> int:
    """Refuse a source that no model could be trained on to follow the store's champion.

    Args:
        classes: of the source, sorted.
        image_size: side in pixels that its images will have.
        resize: how they will be made square.

    Returns:
        The champion's range of levels in images of more than 8 bits, by which the source's are read, too; 0 where it has none.

    Raises:
        InputError: the champion knows other classes, or takes images of another size.
        StoreError: the store cannot be read.
    """
    champion = registry.current(store)
    if champion is None:
        return 0
    model = registry.description(store, champion.version)
    serving = f"version {champion.version}, which serves there,"
    problems = schema_problems(model, classes=classes, image_size=image_size, resize=resize, owner=serving, other="this source")
    if problems:
        settings = {f"data_image_size={model.image_size}": model.image_size != image_size}
        settings[f"data_config.resize={model.resize}"] = model.resize != resize
        cure = f", or {' and '.join(text for text, differs in settings.items() if differs)}" if model.classes == classes else ""
        raise InputError(f"{store.uri}: {'; '.join(problems)}; give another --store{cure}")
    return model.deep_range


def check_range(ingested: Ingested, source: str, store: Store) -> None:
    """Refuse images that the range of the store's champion would cut, of which a model that follows it would lose the brightest parts.

    Raises:
        InputError: there are some.
    """
    beyond = ingested.frame[ingested.frame["full"] > ingested.frame["scaled"]]
    if len(beyond):
        raise InputError(
            f"{source}: {len(beyond):,} images of more than 8 bits (such as {beyond['path'].iloc[0]}) go beyond 0 to "
            f"{ingested.deep_range:,}, by which the model that serves in {store.uri} reads them; leave them out, convert them, or give "
            "another --store"
        )


def run(
    source: str,
    source_hash: str,
    dataset: str,
    report: str,
    *,
    image_size: int,
    seed: int,
    store: str,
    replayed: bool,
    critical_classes: str = "",
    config: dict[str, Any] | None = None,
) -> None:
    """Ingest, audit, split, pack, describe; see the component for the arguments.

    Nothing reaches the store before the source has passed every check.

    Raises:
        InputError: a source that cannot be used, too much of it broken, or a store whose champion is for other images.
        SettingError: a setting or the image size out of range, or a critical class that the source does not have.
        StoreError: the store cannot be written.
    """
    began = time.monotonic()
    settings = DataSettings.complete(config)
    shares = settings.shares(replayed=replayed)
    image_size = check_parameter("data_image_size", image_size)
    home = open_store(store)
    home.check()
    runtime.progress(0.02, "opening the source")
    with opened(source, seed=seed, classes=settings.classes, workers=settings.workers, fetched=False) as folder:
        classes = sorted({file.label for file in folder.files})
        critical_names(critical_classes, classes)
        champions_range = check_champion(home, classes, image_size, settings.resize)
        with tempfile.TemporaryDirectory(prefix="driftloop-spool-") as spool:
            ingested = _read(folder, Path(spool), source, image_size, settings, champions_range or None, home)
            check_range(ingested, source, home)
            audited = _audit(ingested, source, settings, shares, home, unread_note(folder.unread))
            if replayed:
                check_replayable(audited.frame, shares, source)
            runtime.progress(0.75, "packing")
            description = pack(
                audited.frame,
                ingested,
                home,
                image_size=image_size,
                resize=settings.resize,
                source=source,
                shares=shares,
                naming=settings.naming,
            )
        write_description(dataset, description)
        runtime.progress(0.85, "measuring and reporting")
        files = {printable(file.path): folder.root / file.path for file in folder.files}
        analysis = _analyse(description, audited, files, settings.labels_checked, seed)
    _write(analysis, dataset, report, source_hash, began)


def _read(
    folder: Opened, spool: Path, source: str, image_size: int, settings: DataSettings, deep_range: int | None, home: Store
) -> Ingested:
    """Every file, once; those that the pipeline `ingest` has read come out of the store."""
    kept = is_folder(source) and next(iter(home.list(BLOCKS)), None) is not None
    blocks = Blocks(home.uri, folder.remote, image_size, settings.resize, deep_range) if kept else None
    if blocks is None:
        folder.fetch()
    runtime.progress(0.25, f"reading {len(folder.files):,} files")
    ingested = ingest(
        folder.root,
        folder.files,
        spool,
        image_size=image_size,
        resize=settings.resize,
        workers=settings.workers,
        deep_range=deep_range,
        keeper=blocks,
        stamps={path: stamp_of(info) for path, info in folder.objects.items()} if blocks else None,
        progress=(0.25, 0.7),
    )
    check_broken(ingested, source, settings.max_broken_share)
    return ingested


def _audit(ingested: Ingested, source: str, settings: DataSettings, shares: dict[str, float], home: Store, unread: list[str]) -> Audited:
    """Which images stay, and where each of them goes."""
    frame, findings = audit(ingested.frame, ingested.thumbnails, group_pattern=settings.group_pattern, smallest_val=settings.smallest_val)
    check_counts({str(label): int((frame["label"] == label).sum()) for label in set(ingested.frame["label"])}, source)
    known = earlier_splits(home, frame, shares)
    frame = assign_splits(frame, shares, source, known)
    undecidable = check_decidable(frame, source)
    for note in unread + undecidable:
        print(note, flush=True)
    kept = int(frame["group"].isin(known).sum())
    return Audited(frame, findings, ingested.broken, findings.notes + unread + reading_notes(ingested) + undecidable, kept)


def _analyse(description: Description, audited: Audited, files: dict[str, Path], labels_checked: int, seed: int) -> "Analysis":
    # Imported only here: it loads torch, whose threads must not be copied into the processes that read the images.
    from components.data_analysis.statistics import analyse

    return analyse(description, open_split(description, TRAIN), audited, files=files, labels_checked=labels_checked, seed=seed)


def _write(analysis: "Analysis", dataset_dir: str, report_path: str, source_hash: str, began: float) -> None:
    """Everything about the dataset but its images."""
    from components.data_analysis.report import build_report
    from components.data_analysis.statistics import collect_facts

    description, statistics = analysis.description, analysis.statistics
    write_baseline_metrics(
        dataset_dir,
        mean=description.mean,
        std=description.std,
        class_counts=[analysis.counts[TRAIN][name] for name in description.classes],
        histogram=statistics.histogram,
        mean_images=statistics.mean_images,
        statistics=statistics.statistics,
    )
    page = build_report(analysis)
    page.write(report_path)
    write_chapter(dataset_dir, DATA_ANALYSIS, page.chapter)
    write_facts(dataset_dir, DATA_ANALYSIS, collect_facts(analysis, source_hash, time.monotonic() - began))
    leave_record(description.store, DATA_ANALYSIS, dataset_dir, {"report.html": report_path})
    total, doubts = sum(analysis.description.counts.values()), len(analysis.doubts)
    content = f"{total:,} images, {len(analysis.description.classes)} classes, {len(analysis.audited.broken)} broken"
    runtime.report_metrics(f"{content}; {counted(doubts, 'thing')} to look at" if doubts else content)
