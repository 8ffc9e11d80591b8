"""What a person is told to do after a watch."""

import pytest

from driftloop.next_steps import steps_after_watch
from driftloop.watch_record import AskedLabels


@pytest.mark.parametrize(("verdict", "decision"), [("retrain", "reject"), ("alert", None)])
def test_where_the_meaning_of_images_has_changed_the_test_split_is_to_be_labelled_anew(verdict: str, decision: str | None) -> None:
    usual = steps_after_watch(verdict, "store", None, decision=decision)
    assert not any("Label the source anew" in step for step in usual)
    steps = steps_after_watch(verdict, "store", None, decision=decision, concept=True)
    assert any("Label the source anew, and train on it: `driftloop run training --source FOLDER --store store`" in step for step in steps)


@pytest.mark.parametrize(("images", "asked"), [(1, "Label the 1 image on "), (2, "Label the 2 images on ")])
def test_one_image_is_asked_for_as_one(images: int, asked: str) -> None:
    steps = steps_after_watch("needs_labels", "store", AskedLabels(images=images))
    assert any(step.startswith(asked) for step in steps)


def test_where_all_is_labelled_the_next_windows_are_to_be_waited_for() -> None:
    steps = steps_after_watch("needs_labels", "store", AskedLabels(images=0, have=72, needed=100))
    assert steps[0].endswith("the windows in question have no request without a label. The next windows bring more: wait for them.")


def test_where_no_number_of_labels_decides_it_is_said_what_else_there_is() -> None:
    usual = steps_after_watch("needs_labels", "store", AskedLabels(images=5))
    steps = steps_after_watch("needs_labels", "store", AskedLabels(images=5, in_vain=True))
    assert steps[1:-1] == usual[:-1]
    assert usual[-1].endswith("It judges the same drift with the labels.")
    assert steps[-1].endswith("It takes the labels.")
    assert steps[0].startswith("No number of labels will show whether this drift does harm")
    assert "`--set drift_config.retrain_on=alarm`" in steps[0]
