"""One model's home: datasets, versions, the champion pointer, logs, labels and watch records, in S3 or a local folder."""

from driftloop.store.interface import ObjectInfo, Store, change_object, swap
from driftloop.store.open import open_store

__all__ = ["ObjectInfo", "Store", "change_object", "open_store", "swap"]
