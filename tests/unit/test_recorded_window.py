"""A window's p-values in a watch record, of today and of earlier releases."""

from driftloop.watch_record import RecordedWindow

BEFORE = {"first": "a", "last": "b", "rows": 200, "p_statistics": 0.01, "p_embedding": 0.2, "drifted": True, "accuracy": None}


def test_a_window_recorded_by_an_earlier_release_has_its_p_values_by_detector() -> None:
    assert RecordedWindow.model_validate(BEFORE).p_values == {"statistics": 0.01, "embedding": 0.2}


def test_p_values_are_written_where_an_earlier_release_reads_them() -> None:
    window = RecordedWindow(first="a", last="b", rows=200, p_values={"statistics": 0.01, "embedding": 0.2, "toy": 0.5}, drifted=True)
    written = window.model_dump()
    assert {name: written[name] for name in BEFORE} == BEFORE
    assert RecordedWindow.model_validate_json(window.model_dump_json()) == window
