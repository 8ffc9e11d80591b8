"""Packed datasets: uint8 shards in the store, described by a small `dataset.json`; written once, never changed.

split = open_split(dataset.path, "train")
split.images                                  # uint8 (N, H, W, C), memory-mapped
split.labels                                  # int64 (N,)
split.samples                                 # path, label, split, group, sha256, width, height
"""

from driftloop.dataset.decoding import Decoded, UnreadableImage, decode_image
from driftloop.dataset.description import Description, Shard, read_description
from driftloop.dataset.reading import Split, open_split
from driftloop.dataset.splitting import split_by_group
from driftloop.dataset.writing import UNLABELLED, ShardWriter, extend_dataset, write_dataset, write_description

__all__ = [
    "UNLABELLED",
    "Decoded",
    "Description",
    "Shard",
    "ShardWriter",
    "Split",
    "UnreadableImage",
    "decode_image",
    "extend_dataset",
    "open_split",
    "read_description",
    "split_by_group",
    "write_dataset",
    "write_description",
]
