"""Where an earlier dataset of the store has the images of a source: there they stay.

A champion must not be judged by images that it was trained on, nor a new model trained on those that the champion is judged by.
"""

import pandas as pd

from driftloop import registry
from driftloop.contracts import DRIFTED_GATE, DRIFTED_TRAIN, DRIFTED_VAL, RECENT_GATE, SPLITS, TEST, TRAIN, VAL
from driftloop.dataset.description import DATASET_FILE
from driftloop.dataset.group_names import GroupNames
from driftloop.dataset.reading import read_samples, stored_description
from driftloop.dataset.writing import DATASETS
from driftloop.errors import IntegrityError, NotFound
from driftloop.store import Store

#: What production taught the champion belongs to the same side of a new dataset.
SPLIT_OF = {split: split for split in SPLITS} | {DRIFTED_TRAIN: TRAIN, DRIFTED_VAL: VAL, DRIFTED_GATE: TEST, RECENT_GATE: TEST}
#: Who was ever trained on is trained on; else who stopped a training does that, and so on.
ORDER = {split: number for number, split in enumerate(SPLITS)}


def earlier_splits(store: Store, frame: pd.DataFrame, shares: dict[str, float]) -> dict[str, str]:
    """The split of each group of the source that an earlier dataset knows, by its name or by one of its images.

    The earlier dataset is the champion's; where nothing serves yet, the newest one that was cut by the same shares.

    Args:
        frame: audited rows with group and sha256.
        shares: by which the source will be cut.

    Raises:
        IntegrityError: the dataset is damaged.
        StoreError: the store cannot be read.
    """
    samples = _earlier_samples(store, sorted(set(frame["label"])), shares)
    if samples is None:
        return {}
    samples = samples.assign(side=samples["split"].map(SPLIT_OF)).dropna(subset="side")
    samples = samples.iloc[samples["side"].map(ORDER).argsort(kind="stable")]
    names = GroupNames.known(store)
    by_image = samples.drop_duplicates("sha256").set_index("sha256")["side"]
    by_name = samples.assign(group=samples["group"].map(names.hashed)).drop_duplicates("group").set_index("group")["side"]
    sides = pd.concat([frame["sha256"].map(by_image), frame["group"].map(names.hashed).map(by_name)])
    table = pd.DataFrame({"group": pd.concat([frame["group"]] * 2), "side": sides}).dropna()
    table = table.iloc[table["side"].map(ORDER).argsort(kind="stable")].drop_duplicates("group")
    return dict(zip(table["group"], table["side"], strict=True))


def _earlier_samples(store: Store, classes: list[str], shares: dict[str, float]) -> pd.DataFrame | None:
    champion = registry.current(store)
    if champion is not None:
        try:
            return read_samples(stored_description(store, registry.description(store, champion.version).dataset), store)
        except NotFound:  # the champion came from elsewhere, or its dataset was deleted
            return None
    packed = [info for info in store.list(DATASETS) if info.key.endswith(f"/{DATASET_FILE}")]
    for info in sorted(packed, key=lambda info: (info.modified, info.key), reverse=True):
        try:
            description = stored_description(store, info.key.removeprefix(DATASETS).removesuffix(f"/{DATASET_FILE}"))
            if description.classes == classes and description.shares == shares:
                return read_samples(description, store)
        except (NotFound, IntegrityError):  # nothing depends on it, and packing anew is the cure
            continue
    return None
