"""A label is random only where a watch's list has drawn its request, and with a known probability."""

from pathlib import Path

import pandas as pd
import pytest

from components.production_monitoring.collect import with_labels
from driftloop.errors import IntegrityError
from driftloop.inference.labels import RequestedLabels, read_labels, with_checked_origins, write_labels, write_requested
from driftloop.store import Store, open_store


@pytest.fixture
def home(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def requests(**probabilities: float) -> pd.DataFrame:
    rows = [(name, "random", "quota", probability) for name, probability in probabilities.items()]
    return pd.DataFrame(rows, columns=["request_id", "origin", "purpose", "probability"])


def labels(*names: str, origin: str = "random") -> pd.DataFrame:
    return pd.DataFrame({"request_id": names, "label": "NORMAL", "origin": origin})


def test_each_list_is_read_once_and_the_largest_probability_stands(home: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_requested(home, 1, requests(a=0.1, b=0.1))
    write_requested(home, 2, pd.DataFrame({"request_id": ["c"], "origin": ["ranked"], "probability": [float("nan")]}))
    requested = RequestedLabels(home)
    requested.refresh()
    assert requested.probabilities == {"a": 0.1, "b": 0.1}
    home.put("watch/requests/000001.csv", b"never read again")
    write_requested(home, 3, requests(a=0.5, d=1.0))
    requested.refresh()
    assert requested.probabilities == {"a": 0.5, "b": 0.1, "d": 1.0}


def test_lists_of_a_release_that_wrote_no_probability_are_read(home: Store) -> None:
    write_requested(home, 1, pd.DataFrame({"request_id": ["a", "b"], "origin": ["random", "ranked"]}))
    requested = RequestedLabels(home)
    requested.refresh()
    assert list(requested.probabilities) == ["a"]


@pytest.mark.parametrize("content", [b"", b"request_id,label\na,b\n", b"request_id,origin,probability\na,random,much\n"])
def test_a_damaged_list_is_one_clear_line(home: Store, content: bytes) -> None:
    home.put("watch/requests/000001.csv", content)
    with pytest.raises(IntegrityError, match=r"000001\.csv is not a list of label requests"):
        RequestedLabels(home).refresh()


def test_lines_that_say_random_and_were_not_drawn_become_imports(home: Store) -> None:
    given = pd.concat([labels("a", "x"), labels("y", origin="ranked")], ignore_index=True)
    believed, stray = with_checked_origins(home, given)
    assert (believed["origin"].tolist(), stray) == (["random", "random", "ranked"], 0), "a store without any list, of driftloop 0.1.0"
    write_requested(home, 1, requests(a=0.1))
    checked, stray = with_checked_origins(home, given)
    assert (checked["origin"].tolist(), stray) == (["random", "import", "ranked"], 1)
    assert with_checked_origins(home, labels("a"))[1] == 0


def test_a_label_drawn_by_class_is_that_only_where_such_a_list_has_drawn_it_and_stays_it(home: Store) -> None:
    write_requested(home, 1, pd.concat([requests(a=0.1), requests(a=0.5, b=0.5).assign(origin="by_class")], ignore_index=True))
    checked, stray = with_checked_origins(home, labels("a", "b", "x", origin="by_class"))
    # What the uniform list has drawn, too, counts as random: without it that list would be biased.
    assert (checked["origin"].tolist(), stray) == (["random", "by_class", "import"], 1)
    write_labels(home, checked)
    write_labels(home, labels("a", "b", origin="import"))
    read, _ = read_labels(home)
    assert read.set_index("request_id")["origin"].to_dict() == {"a": "random", "b": "by_class", "x": "import"}


def test_a_skipped_request_has_no_label_and_an_origin_that_says_so() -> None:
    known = pd.DataFrame({"request_id": ["a", "b"], "label": ["?", "NORMAL"], "origin": ["random", "random"]})
    rows = with_labels(pd.DataFrame({"request_id": ["a", "b", "c"]}), known)
    assert rows["label"].tolist() == [None, "NORMAL", None]
    assert rows["label_origin"].tolist() == ["skipped", "random", None]
