"""What a watch record says of windows, labels and recalls, in each form that it was ever written in."""

from typing import Any

import pytest

from driftloop.watch_record import ClassRecall, RecordedTagWindow, RecordedWindow, TagPart, WindowLabels, with_pools

TIMES = {"first": "2026-01-01T00:00:00+00:00", "last": "2026-01-01T01:00:00+00:00"}
ALONE, TOGETHER, CALM = (True, False), (True, True), (False, False)


def window(**given: Any) -> RecordedWindow:
    return RecordedWindow.model_validate(TIMES | {"rows": 60, "drifted": False} | given)


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([], []),
        ([(False, 0), (True, 0), (False, 0)], [CALM, ALONE, CALM]),
        ([(False, 0), (False, 0), (False, 2), (False, 0)], [CALM, TOGETHER, TOGETHER, CALM]),
        ([(True, 0), (False, 2)], [ALONE, TOGETHER]),
        # The pool began in windows that are no longer looked back to.
        ([(False, 0), (False, 4)], [TOGETHER, TOGETHER]),
        ([(False, 0), (False, 1)], [CALM, TOGETHER]),
        ([(False, 2), (False, 0), (False, 2)], [TOGETHER, TOGETHER, TOGETHER]),
    ],
)
def test_windows_that_drifted_only_together_with_later_ones_are_marked(
    windows: list[tuple[bool, int]], expected: list[tuple[bool, bool]]
) -> None:
    given = [window(drifted=drifted, pooled=pooled) for drifted, pooled in windows]
    marked = with_pools(given)
    assert [(one.drifted, one.together) for one in marked] == expected
    assert [one.drifted for one in given] == [drifted for drifted, _ in windows]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"p_statistics": 0.25, "p_embedding": 0.5}, {"statistics": 0.25, "embedding": 0.5}),
        ({"p_statistics": 0.25, "p_embedding": None}, {"statistics": 0.25}),
        ({"p_values": {"embedding": 0.125, "output": 0.5}}, {"embedding": 0.125, "output": 0.5}),
        ({"p_values": {"statistics": 0.125}, "p_statistics": 0.25}, {"statistics": 0.125}),
        ({}, {}),
    ],
)
def test_p_values_are_the_same_in_the_old_form_and_the_new(stored: dict[str, Any], expected: dict[str, float]) -> None:
    read = window(**stored)
    assert read.p_values == expected
    assert (read.p_statistics, read.p_embedding) == (expected.get("statistics"), expected.get("embedding"))
    assert RecordedWindow.model_validate_json(read.model_dump_json()) == read


def test_a_window_of_a_tag_holds_the_rows_of_all_its_parts() -> None:
    parts = [TagPart(watch=1, window=2, rows=7), TagPart(watch=2, window=0, rows=5)]
    tagged = RecordedTagWindow(**TIMES, tag="site=B", groups=9, p_values={}, drifted=False, parts=parts)
    assert tagged.rows == 12


@pytest.mark.parametrize(("rows", "labels", "share"), [(12, 3, 0.25), (1, 1, 1.0), (1, 0, 0.0), (0, 0, 0.0)])
def test_the_share_of_labels_is_of_the_requests_that_they_stand_for(rows: int, labels: int, share: float) -> None:
    assert WindowLabels(watch=1, window=0, drift=0, last=TIMES["last"], rows=rows, labels=labels, right=labels).share == share


BETWEEN = "recall of crack is between 0.00 and 0.70"


@pytest.mark.parametrize(
    ("given", "told", "sentence"),
    [
        ({"accepted": 0.9, "labels_to_tell": 3100}, False, f"{BETWEEN} (accepted: 0.90); about 3,100 random labels in all would tell"),
        ({"accepted": 0.9, "labels_to_tell": 988_999}, False, f"{BETWEEN} (accepted: 0.90); about 990,000 random labels in all would tell"),
        ({"accepted": 0.9, "in_vain": True}, False, f"{BETWEEN} (accepted: 0.90); no number of random labels is likely to tell"),
        ({"accepted": 0.9}, False, f"{BETWEEN} (accepted: 0.90); more random labels are needed"),
        ({"accepted": None, "bounded": True}, True, f"{BETWEEN} (accepted: not known)"),
        ({"accepted": 0.0, "fallen": True, "labels_to_tell": 3100}, True, f"{BETWEEN} (accepted: 0.00)"),
    ],
)
def test_what_labels_say_of_a_recall(given: dict[str, Any], told: bool, sentence: str) -> None:
    base = {"name": "crack", "critical": True, "low": 0.0, "high": 0.7, "bounded": False, "fallen": False}
    recall = ClassRecall.model_validate(base | given)
    assert (recall.told, recall.sentence()) == (told, sentence)


def test_a_window_of_an_older_record_claims_nothing_that_was_not_written_then() -> None:
    old = window()
    assert (old.groups, old.pooled, old.together, old.mixture, old.predicted) == (0, 0, False, {}, {})
    assert (old.accuracy, old.label_free_drop) == (None, None)
