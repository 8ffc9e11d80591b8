"""What tests of the stores share."""

from collections.abc import Iterator

import pytest

from driftloop.store.s3_conditions import _proved


@pytest.fixture
def new_process() -> Iterator[None]:
    """What this process knows of servers is forgotten, before and after."""
    _proved.clear()
    yield
    _proved.clear()
