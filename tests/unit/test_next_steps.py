"""What a person is told to do after a watch."""

import pytest

from driftloop.next_steps import steps_after_watch


@pytest.mark.parametrize(("verdict", "decision"), [("retrain", "reject"), ("alert", None)])
def test_where_the_meaning_of_images_has_changed_the_test_split_is_to_be_labelled_anew(verdict: str, decision: str | None) -> None:
    usual = steps_after_watch(verdict, "store", None, decision=decision)
    assert not any("Label the source anew" in step for step in usual)
    steps = steps_after_watch(verdict, "store", None, decision=decision, concept=True)
    assert any("Label the source anew, and train on it: `driftloop run training --source FOLDER --store store`" in step for step in steps)
