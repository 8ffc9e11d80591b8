"""Names of patients, hidden."""

import re

from driftloop.dataset.group_names import KEY, GroupNames
from driftloop.store import Store


def test_a_store_gets_one_key_and_keeps_it(store: Store) -> None:
    assert GroupNames.known(store).hashed("Mrs Smith") == "Mrs Smith"
    first, second = GroupNames.of(store), GroupNames.of(store)
    hidden = first.hashed("Mrs Smith")
    assert re.fullmatch("g:[0-9a-f]{24}", hidden)
    assert second.hashed("Mrs Smith") == GroupNames.known(store).hashed("Mrs Smith") == hidden
    assert first.hashed(hidden) == hidden
    assert first.hashed("Mr Smith") != hidden
    assert len(store.read(KEY)) == 32


def test_a_name_in_two_spellings_is_one_person() -> None:
    assert GroupNames(b"one").hashed("M\u00fcller") == GroupNames(b"one").hashed("Mu\u0308ller")


def test_another_key_hides_a_name_in_another_way() -> None:
    assert GroupNames(b"one").hashed("a") != GroupNames(b"other").hashed("a")
