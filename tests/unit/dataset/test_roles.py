"""Who trains, who stops the training, who is kept for the gate."""

import numpy as np
import pandas as pd
import pytest

from driftloop.contracts import DRIFTED_GATE, DRIFTED_TRAIN, DRIFTED_VAL
from driftloop.dataset import split_by_group
from driftloop.dataset.group_names import GroupNames
from driftloop.dataset.roles import (
    LEFT_OUT,
    REGIME,
    assign_roles,
    count_labels,
    hashed_roles,
    judging,
    known_roles,
    missing_labels,
    stands_for_accepted,
)
from driftloop.settings import RetrainSettings

SETTINGS = RetrainSettings()
PLAIN = GroupNames(b"")
NOBODY = pd.DataFrame({"path": [], "split": [], "group": []}, dtype=object)


def rows_of(groups: list[str], *, labels: int = 0, origin: str = "random") -> pd.DataFrame:
    ids = [f"request-{number}" for number in range(len(groups))]
    return pd.DataFrame({"request_id": ids, "group": groups, "label": labels, "origin": origin})


def patients(count: int, prefix: str = "patient") -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


def test_labels_are_split_in_the_proportions_300_60_300() -> None:
    roles = assign_roles(rows_of(patients(20_000)), NOBODY, SETTINGS, PLAIN)
    shares = {role: (roles == role).mean() for role in (DRIFTED_TRAIN, DRIFTED_VAL, DRIFTED_GATE)}
    assert shares[DRIFTED_TRAIN] == pytest.approx(300 / 660, abs=0.015)
    assert shares[DRIFTED_VAL] == pytest.approx(60 / 660, abs=0.015)
    assert shares[DRIFTED_GATE] == pytest.approx(300 / 660, abs=0.015)


def test_the_split_is_stable_when_labels_are_added_and_rows_reordered() -> None:
    few, many = rows_of(patients(200)), rows_of(patients(400)[::-1])
    before = dict(zip(few["group"], assign_roles(few, NOBODY, SETTINGS, PLAIN), strict=True))
    after = dict(zip(many["group"], assign_roles(many, NOBODY, SETTINGS, PLAIN), strict=True))
    assert before == {group: after[group] for group in before}


def test_no_patient_is_on_two_sides() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of([f"patient-{number}" for number in rng.integers(0, 150, 900)])
    rows["label"] = rng.choice([0, 1, -1], 900)
    rows["origin"] = np.where(rows["label"] < 0, "", rng.choice(["random", "ranked", "import"], 900))
    used = rows.assign(role=assign_roles(rows, NOBODY, SETTINGS, PLAIN)).query("role != ''")
    judged = used[used["role"] != REGIME].groupby("group")["role"].nunique()
    assert (judged == 1).all()
    unseen = set(used.loc[used["role"] == REGIME, "group"])
    assert not unseen & set(used.loc[used["role"].isin([DRIFTED_TRAIN, DRIFTED_VAL]), "group"])


def test_patients_that_one_hash_put_into_the_stream_still_fall_on_all_three_sides() -> None:
    everybody = patients(5_000)
    stream = [g for g, s in zip(everybody, split_by_group(everybody, {"train": 85, "stream": 15}), strict=True) if s == "stream"]
    roles = assign_roles(rows_of(stream), NOBODY, SETTINGS, PLAIN)
    assert min((roles == role).mean() for role in (DRIFTED_TRAIN, DRIFTED_GATE)) > 0.38
    assert (roles == DRIFTED_VAL).mean() > 0.05


def is_accepted(groups: list[str]) -> np.ndarray:
    return np.array([stands_for_accepted(group, SETTINGS) for group in groups])


@pytest.mark.parametrize("origin", ["ranked", "import"])
def test_labels_that_were_not_drawn_at_random_train_where_nobody_stands_for_what_is_accepted(origin: str) -> None:
    groups = patients(300)
    roles = assign_roles(rows_of(groups, origin=origin), NOBODY, SETTINGS, PLAIN)
    assert set(roles[~is_accepted(groups)]) == {DRIFTED_TRAIN}
    assert set(roles[is_accepted(groups)]) == {REGIME}


def test_a_ranked_label_takes_nobody_out_of_the_regime() -> None:
    rows = rows_of(patients(1000), labels=-1, origin="")
    rows.loc[:299, ["label", "origin"]] = [0, "random"]
    before = assign_roles(rows, NOBODY, SETTINGS, PLAIN)
    rows.loc[300:499, ["label", "origin"]] = [1, "ranked"]
    after = assign_roles(rows, NOBODY, SETTINGS, PLAIN)
    assert ((before == REGIME) == (after == REGIME)).all()
    assert (before == REGIME)[300:].mean() == pytest.approx(0.8, abs=0.05)
    assert not (before == REGIME)[:300].any()


def test_a_ranked_label_of_a_patient_who_judges_does_not_train() -> None:
    random, ranked = rows_of(patients(300)), rows_of(patients(300), origin="ranked")
    ranked["request_id"] = [f"ranked-{number}" for number in range(300)]
    roles = assign_roles(pd.concat([random, ranked], ignore_index=True), NOBODY, SETTINGS, PLAIN)
    accepted = is_accepted(patients(300))
    for role, of_accepted, of_others in (
        (DRIFTED_TRAIN, LEFT_OUT, DRIFTED_TRAIN),
        (DRIFTED_VAL, LEFT_OUT, LEFT_OUT),
        (DRIFTED_GATE, REGIME, LEFT_OUT),
    ):
        here = roles[:300] == role
        assert set(roles[300:][here & accepted]) == {of_accepted}
        assert set(roles[300:][here & ~accepted]) == {of_others}


def test_unlabelled_rows_become_the_regime_by_the_hash_of_their_group() -> None:
    groups = patients(5000)
    roles = assign_roles(rows_of(groups, labels=-1, origin=""), NOBODY, SETTINGS, PLAIN)
    assert ((roles == REGIME) == is_accepted(groups)).all()
    assert set(roles) == {REGIME, LEFT_OUT}
    assert (roles == REGIME).mean() == pytest.approx(SETTINGS.regime_share, abs=0.02)


def test_who_stands_for_what_is_accepted_says_nothing_of_who_judges() -> None:
    groups = patients(5000)
    kept = np.array([judging([group], SETTINGS)[0] for group in groups])
    assert kept.mean() == pytest.approx(300 / 660, abs=0.02)
    assert kept[is_accepted(groups)].mean() == pytest.approx(kept.mean(), abs=0.02)
    roles = hashed_roles(groups, SETTINGS)
    assert kept.tolist() == [roles[group] == DRIFTED_GATE for group in groups] == judging(groups, SETTINGS).tolist()
    assert ((assign_roles(rows_of(groups), NOBODY, SETTINGS, PLAIN) == DRIFTED_GATE) == kept).all()


@pytest.mark.parametrize(
    ("split", "role"),
    [
        ("train", DRIFTED_TRAIN),
        ("val", DRIFTED_VAL),
        ("test", DRIFTED_GATE),
        ("reference", DRIFTED_GATE),
        ("drifted_train", DRIFTED_TRAIN),
        ("drifted_gate", DRIFTED_GATE),
        ("regime-1", DRIFTED_GATE),
    ],
)
def test_patients_that_the_dataset_knows_stay_on_their_side(split: str, role: str) -> None:
    known = pd.DataFrame({"path": [f"{split}-file-{n}" for n in range(100)], "split": split, "group": patients(100)})
    assert set(assign_roles(rows_of(patients(100)), known, SETTINGS, PLAIN)) == {role}


def test_who_was_ever_trained_on_is_trained_on_and_who_ever_stopped_a_training_does_not_judge() -> None:
    ranks = [(DRIFTED_TRAIN, ["train", "drifted_train"]), (DRIFTED_VAL, ["val", "drifted_val"])]
    ranks += [(DRIFTED_GATE, ["test", "reference", "drifted_gate", "recent_gate", "regime-1"])]
    order = [(role, split) for role, splits in ranks for split in splits]
    for place, (role, split) in enumerate(order):
        for _, other in [*order[place:], ("", "stream")]:
            for both in ([split, other], [other, split]):
                assert known_roles(pd.DataFrame({"split": both, "group": "patient"})) == {"patient": role}


def test_patients_of_the_stream_are_free_because_the_stream_is_production() -> None:
    known = pd.DataFrame({"path": [f"file-{n}" for n in range(200)], "split": "stream", "group": patients(200)})
    roles = assign_roles(rows_of(patients(200)), known, SETTINGS, PLAIN)
    assert set(roles) == {DRIFTED_TRAIN, DRIFTED_VAL, DRIFTED_GATE}


def test_requests_that_the_dataset_has_already_are_left_out() -> None:
    rows = rows_of(patients(100))
    known = pd.DataFrame({"path": rows["request_id"], "split": "drifted_train", "group": rows["group"]})
    assert set(assign_roles(rows, known, SETTINGS, PLAIN)) == {LEFT_OUT}


def test_no_rows_give_no_sides() -> None:
    assert assign_roles(rows_of([]), NOBODY, SETTINGS, PLAIN).shape == (0,)
    assert judging([], SETTINGS).dtype == bool


def roles_of(train: int, val: int, gate: int) -> np.ndarray:
    return np.repeat(np.array([DRIFTED_TRAIN, LEFT_OUT, DRIFTED_VAL, REGIME, DRIFTED_GATE], object), [train, 7, val, 9, gate])


@pytest.mark.parametrize(
    ("train", "val", "gate", "missing"),
    [
        (10, 10, 10, ""),
        (19, 1, 10, ""),
        (20, 0, 10, "0 labelled drifted images for early stopping, at least 1 are needed"),
        (9, 11, 10, "9 labelled drifted images for training, at least 10 are needed"),
        (20, 1, 9, "9 labelled drifted images for the gate, at least 10 are needed"),
        (19, 1, 9, "29 labelled images of a kind (19 for training, 1 for early stopping, 9 for the gate), 30 are needed: 1 more"),
        (0, 0, 0, "0 labelled images of a kind (0 for training, 0 for early stopping, 0 for the gate), 30 are needed: 30 more"),
    ],
)
def test_a_retraining_needs_labels_in_all_and_for_each_purpose(train: int, val: int, gate: int, missing: str) -> None:
    counts = count_labels(roles_of(train, val, gate))
    assert counts == {DRIFTED_TRAIN: train, DRIFTED_VAL: val, DRIFTED_GATE: gate}
    said = missing_labels(counts, RetrainSettings(needed_labels=30), "of a kind")
    assert said.partition(" (there are ")[0] == missing
    if "at least" in missing:
        assert f" (there are {train} for training, {val} for early stopping, {gate} for the gate; only uniformly random labels " in said


@pytest.mark.parametrize(("split", "role"), [("train", DRIFTED_TRAIN), ("test", DRIFTED_GATE)])
def test_a_patient_whose_name_a_service_hid_is_the_one_whom_the_dataset_knows(split: str, role: str) -> None:
    names = GroupNames(b"a store's key")
    known = pd.DataFrame({"path": [f"{split}-file-{n}" for n in range(100)], "split": split, "group": patients(100)})
    hidden = [names.hashed(name) for name in patients(100)]
    assert not set(hidden) & set(patients(100))
    assert set(assign_roles(rows_of(hidden), known, SETTINGS, names)) == {role}
    # Rows that a replay had logged before there was a key.
    assert set(assign_roles(rows_of(patients(100)), known, SETTINGS, names)) == {role}
    assert set(assign_roles(rows_of([GroupNames(b"another").hashed(name) for name in patients(300)]), known, SETTINGS, names)) != {role}
