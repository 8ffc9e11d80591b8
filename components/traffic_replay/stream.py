"""The images that a replay plays: the dataset's stream split."""

from driftloop.dataset import Description, Split, open_split
from driftloop.errors import InputError


def open_stream(description: Description) -> Split:
    """The stream split of a dataset.

    Raises:
        InputError: it has none.
    """
    if not description.counts.get("stream"):
        raise InputError("this dataset has no stream images to replay; raise data_config.stream_share or use a larger source")
    return open_split(description, "stream")
