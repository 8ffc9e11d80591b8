"""The text form of scenarios, and the line that a mistake gets."""

import numpy as np
import pytest

from driftloop.errors import InputError
from driftloop.scenarios import Scenario, parse


@pytest.mark.parametrize(
    ("text", "kinds", "severity", "over_time"),
    [
        ("none", (), 0.0, "constant"),
        ("blur+noise:0.6", ("blur", "noise"), 0.6, "constant"),
        ("noise+blur:1", ("noise", "blur"), 1.0, "constant"),
        ("prior:0.2", ("prior",), 0.2, "constant"),
        ("  JPEG:.5 ", ("jpeg",), 0.5, "constant"),
        ("new-site:0.3", ("new_site",), 0.3, "constant"),
        ("brightness", ("brightness",), 0.6, "constant"),
        ("gradual", ("blur", "noise"), 0.6, "gradual"),
        ("gradual:0.4", ("blur", "noise"), 0.4, "gradual"),
        ("recurring:contrast:0.7", ("contrast",), 0.7, "recurring"),
    ],
)
def test_texts_and_what_they_mean(text: str, kinds: tuple[str, ...], severity: float, over_time: str):
    assert parse(text) == Scenario(kinds, severity, over_time)


@pytest.mark.parametrize(
    "text", ["none", "blur+noise:0.6", "prior:0.25", "gradual:rotation:0.125", "recurring:blur+noise:1", "new_site:1@0.1"]
)
def test_a_scenario_prints_as_what_it_is_read_from(text: str):
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing given"),
        ("blurr:0.5", "did you mean blur"),
        ("brightnes", "did you mean brightness"),
        ("qqq:0.5", "known: blur, noise"),
        ("blur+nois:0.5", "no scenario 'nois' .did you mean noise"),
        ("blur:1.5", "severity 1.5 is out of range"),
        ("blur:-0.1", "severity -0.1 is out of range"),
        ("blur:nan", "out of range"),
        ("blur:high", "'high' is not a severity"),
        ("blur:0.5:0.5", "nothing may follow"),
        ("none:0.5", "none takes no severity"),
        ("none@0.5", "no share"),
        ("blur:1@0", "'0' is not a share"),
        ("blur:1@", "'' is not a share"),
        ("blur:1@nan", "'nan' is not a share"),
        ("0.5", "no scenario named"),
        ("blur+blur:0.5", "named twice"),
        ("gradual:prior:0.2", "prior cannot change over time"),
    ],
)
def test_mistakes_get_one_line_that_says_what_and_how_to_mend_it(text: str, message: str):
    with pytest.raises(InputError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_whether_anything_drifts():
    assert not parse("none").drifts
    assert not parse("blur:0").drifts
    assert parse("blur:0.1").drifts


def test_a_share_of_the_traffic_drifts_as_the_whole_would_and_the_rest_stays():
    images = np.random.default_rng(1).integers(0, 256, (4000, 4, 4, 1), dtype=np.uint8)
    changed = (parse("brightness:1@0.1").apply(images, np.random.default_rng(2)) != images).any(axis=(1, 2, 3))
    assert abs(changed.mean() - 0.1) < 0.02
    whole = parse("brightness:1").apply(images, np.random.default_rng(2))
    assert (parse("brightness:1@0.1").apply(images, np.random.default_rng(2))[changed] == whole[changed]).all()


def test_a_prior_shift_of_a_share_shifts_the_whole_by_as_much_less():
    labels = np.repeat([0, 1], 2000)
    rows = parse("prior:0.4@0.5").select(labels, 1000, np.random.default_rng(3))
    assert abs(np.bincount(labels[rows])[0] / 1000 - 0.5) == pytest.approx(0.2, abs=0.001)


def test_a_ramp_runs_from_nothing_to_full_severity():
    assert parse("gradual:noise:0.8").severities(5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


def test_a_recurring_drift_comes_goes_comes_and_goes():
    severities = parse("recurring:noise:0.8").severities(8)
    assert severities == pytest.approx([0.8, 0.8, 0, 0, 0.8, 0.8, 0, 0])


def test_positions_can_be_given_so_that_parts_of_a_stream_fit_together():
    images = np.full((10, 32, 32, 1), 128, np.uint8)
    scenario = parse("gradual:brightness:1")
    where = np.linspace(0, 1, 10)
    whole = scenario.apply(images, np.random.default_rng(0))
    parts = [scenario.apply(images[part], np.random.default_rng(0), where[part]) for part in (slice(0, 4), slice(4, 10))]
    assert np.array_equal(whole, np.concatenate(parts))


def test_as_many_positions_as_images_are_needed():
    with pytest.raises(ValueError, match="3 images need 3 positions"):
        parse("gradual").severities(3, np.zeros(2))


def test_several_kinds_are_applied_from_left_to_right():
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), dtype=np.uint8)
    separately = parse("contrast:0.6").apply(parse("brightness:0.6").apply(images, np.random.default_rng(0)), np.random.default_rng(0))
    assert np.array_equal(parse("brightness+contrast:0.6").apply(images, np.random.default_rng(0)), separately)
