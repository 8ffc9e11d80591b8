"""`driftloop.course` gives the course's names, and its docstring lists them."""

import re

from driftloop import course


def test_the_docstring_lists_every_name_in_one_line_and_no_other() -> None:
    listed = re.findall(r"^(\w+) {2,}\S.*$", course.__doc__ or "", flags=re.MULTILINE)
    assert sorted(listed) == sorted(course.__all__)
    assert len(set(listed)) == len(listed)


def test_every_name_can_be_called_and_is_documented() -> None:
    for name in course.__all__:
        thing = getattr(course, name)
        assert callable(thing)
        assert thing.__doc__, name


def test_the_names_that_users_of_the_course_expect_are_there() -> None:
    assert {"set_seed", "train_epoch", "train_epoch_amp", "validate", "find_learning_rate", "export_onnx", "InferenceLogger"} <= set(
        course.__all__
    )
