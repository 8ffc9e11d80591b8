"""A dataset as files that other tools take: PNG images by split and class, a table of them, and DVC's own description of the folder."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import yaml
from PIL import Image

from driftloop.dataset.description import DATASET_FILE, TAGS, Description
from driftloop.dataset.reading import open_split, stored_description
from driftloop.dataset.writing import DATASETS
from driftloop.errors import InputError
from driftloop.exporting.folder import written_whole
from driftloop.store import Store

#: The table beside the images: a row each.
TABLE = "samples.csv"
#: The folder of images without a label, such as those of an accepted drift.
UNLABELLED = "unlabelled"


def find_dataset(store: Store, name: str) -> Description:
    """The dataset of that hash, or whose hash alone begins so.

    Raises:
        InputError: none does, or several do.
        IntegrityError: its description is damaged.
    """
    hashes = {entry.key.split("/")[1] for entry in store.list(DATASETS) if entry.key.endswith(f"/{DATASET_FILE}")}
    found = sorted(known for known in hashes if known.startswith(name))
    if len(found) == 1:
        return stored_description(store, found[0])
    there = ", ".join(sorted(known[:12] for known in found or hashes)) or "none"
    raise InputError(f"--dataset {name}: {'several datasets begin so' if found else 'no such dataset'} in {store.uri} (there: {there})")


def write_images(description: Description, output: Path) -> int:
    """Write a dataset as `<split>/<class>/<number>.png` and `samples.csv`; the same dataset gives the same bytes.

    Args:
        description: of the dataset.
        output: the new folder; it appears whole or not at all.

    Returns:
        The number of images.

    Raises:
        InputError: something is there already, or the disk does not take it.
        IntegrityError: a shard or the table of samples is not what was written.
        StoreError: the store cannot be read.
    """
    with written_whole(output) as folder:
        tables = []
        for name in description.counts:
            split = open_split(description, name)
            classes = [description.classes[label] if label >= 0 else "" for label in split.labels]
            for of_class in set(classes):
                Path(folder, name, of_class or UNLABELLED).mkdir(parents=True)
            files = [f"{name}/{of_class or UNLABELLED}/{number:06d}.png" for number, of_class in enumerate(classes)]
            for file, image in zip(files, split.images, strict=True):
                Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(Path(folder, file))
            table = split.samples[["split", "group", TAGS, "path", "sha256"]]
            tables.append(table.rename(columns={"path": "source_path", "sha256": "source_sha256"}).assign(file=files, label=classes))
        columns = ["file", "label", "split", "group", TAGS, "source_path", "source_sha256"]
        whole = pd.concat(tables)[columns]
        whole.to_csv(Path(folder, TABLE), index=False)
    return len(whole)


def write_dvc_file(output: Path) -> Path:
    """Describe a folder as `dvc add` does, in a file beside it: `dvc commit`, `push` and `pull` go on from there.

    DVC names a folder by the MD5 of the list of its files, which it writes as JSON in the order of their paths.

    Returns:
        The `.dvc` file.
    """
    files = {path.relative_to(output).as_posix(): path for path in output.rglob("*") if path.is_file()}
    listed = [{"md5": hashlib.md5(files[name].read_bytes(), usedforsecurity=False).hexdigest(), "relpath": name} for name in sorted(files)]
    name = hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    whole = {
        "md5": f"{name}.dir",
        "size": sum(path.stat().st_size for path in files.values()),
        "nfiles": len(files),
        "hash": "md5",
        "path": output.name,
    }
    target = dvc_file(output)
    target.write_text(yaml.safe_dump({"outs": [whole]}, sort_keys=False))
    return target


def dvc_file(output: Path) -> Path:
    """The name of the file that describes a folder to DVC."""
    return output.with_name(f"{output.name}.dvc")
