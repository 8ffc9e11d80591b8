"""Where labelled images come from: a folder, a zip or tar, S3, Kaggle, or built in (digits, synthetic:xray, synthetic:roof).

check_source("data/chest")            # the source with an absolute path, or one clear line that says what is wrong with it
resolve("data/chest")                 # its content hash
with opened("data/chest", seed=1) as folder:
    for file in folder.files:         # SourceFile(path, label, split), below folder.root
        ...
"""

from driftloop.sources.built_in import write_source
from driftloop.sources.folder import MIN_CLASS_IMAGES, SourceFile
from driftloop.sources.resolving import Opened, check_source, is_folder, opened, resolve

__all__ = ["MIN_CLASS_IMAGES", "Opened", "SourceFile", "check_source", "is_folder", "opened", "resolve", "write_source"]
