"""A study whose journal lies in a store: one order for all processes, few objects, and nothing of a journal that is gone."""

import json
import multiprocessing
import os
import threading
from collections import Counter
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from driftloop.errors import StoreError
from driftloop.store import Store, open_store
from driftloop.training.study_journal import StoreJournal, StudyPlace

PREFIX = "datasets/ab12/checkpoints/cd34.study"


def open_study(journal: StoreJournal) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.JournalStorage(journal)
    return optuna.create_study(storage=storage, study_name="s", direction="maximize", load_if_exists=True)


def try_values(study: optuna.Study, journal: StoreJournal, trials: int) -> None:
    for _ in range(trials):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        journal.flush()
        for epoch in range(3):
            trial.report(x * epoch, epoch)
        study.tell(trial, x)


def told(study: optuna.Study) -> list[Any]:
    return [(trial.number, trial.state, trial.params, trial.values, trial.intermediate_values) for trial in study.trials]


def search_elsewhere(uri: str, environment: dict[str, str], trials: int) -> None:
    os.environ.update(environment)
    journal = StudyPlace(uri, PREFIX).open()
    try_values(open_study(journal), journal, trials)


def test_what_one_process_tells_another_one_reads(store: Store) -> None:
    journal = StoreJournal(store, PREFIX)
    study = open_study(journal)
    other = open_study(StoreJournal(store, PREFIX))
    try_values(study, journal, 2)
    study.enqueue_trial({"x": 0.5})
    assert other.ask().suggest_float("x", 0, 1) == 0.5
    assert told(other)[:2] == told(study)[:2]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.RUNNING]


def test_processes_that_append_at_once_lose_nothing_and_agree(store: Store) -> None:
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    server = multiprocessing.get_context("forkserver")
    processes = [server.Process(target=search_elsewhere, args=(store.uri, environment, 5)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    study = open_study(StoreJournal(store, PREFIX))
    assert [(trial.number, trial.state) for trial in study.trials] == [(number, TrialState.COMPLETE) for number in range(15)]
    assert all(trial.values == [trial.params["x"]] and len(trial.intermediate_values) == 3 for trial in study.trials)
    assert told(open_study(StoreJournal(store, PREFIX))) == told(study)


def test_threads_with_a_journal_each_that_append_at_once_make_one_order(store: Store) -> None:
    journals = [StoreJournal(store, PREFIX) for _ in range(4)]

    def append(number: int) -> None:
        for count in range(10):
            journals[number].append_logs([{"op_code": 0, "by": number, "count": count}])

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    order = list(StoreJournal(store, PREFIX).read_logs(0))
    assert len(order) == 40
    for number, journal in enumerate(journals):
        assert [entry["count"] for entry in order if entry["by"] == number] == list(range(10))
        journal.read_logs(0)  # what it knew after its own last entry
        assert journal.read_logs(0) == order


def test_a_trial_takes_three_objects_whatever_it_reports_and_nothing_is_read_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = StoreJournal(store, PREFIX)
    study = open_study(journal)
    before = len(list(store.list()))
    reads: Counter[str] = Counter()
    read = type(store).read

    def counted(self: Store, key: str) -> bytes:
        content = read(self, key)
        reads[key] += 1
        return content

    monkeypatch.setattr(type(store), "read", counted)
    try_values(study, journal, 4)
    assert len(list(store.list())) - before == 12
    other = open_study(StoreJournal(store, PREFIX))
    assert len(other.trials) == len(other.trials) == 4
    assert max(reads.values()) == 1


def test_a_trial_that_another_process_gave_up_is_refused_to_its_own(store: Store) -> None:
    journal = StoreJournal(store, PREFIX)
    study = open_study(journal)
    try_values(study, journal, 1)
    study.ask().suggest_float("x", 0, 1)  # and for now no more of this process
    next_one = open_study(StoreJournal(store, PREFIX))
    assert [trial.state for trial in next_one.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
    next_one.tell(1, state=TrialState.FAIL)
    given_up = study.trials[1]
    assert given_up.state == TrialState.FAIL
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        study._storage.set_trial_user_attr(given_up._trial_id, "late", 1)


def test_a_cleared_journal_leaves_nothing_and_what_is_written_late_goes_unread(store: Store) -> None:
    place = StudyPlace(store.uri, PREFIX)
    late_journal = place.open()
    late = open_study(late_journal)
    try_values(late, late_journal, 2)
    place.clear()
    assert list(store.list()) == []
    try_values(late, late_journal, 1)  # by a process that has not heard of it
    journal = place.open()
    study = open_study(journal)
    assert study.trials == []
    try_values(study, journal, 4)  # through the numbers that the late one took
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4
    assert told(open_study(place.open())) == told(study)
    place.clear()
    assert list(open_store(store.uri).list()) == []


def test_what_is_no_entry_is_named_with_the_cure(store: Store) -> None:
    journal = StoreJournal(store, PREFIX)
    store.put(f"{PREFIX}/00000000.json", b"{")
    with pytest.raises(StoreError, match=rf"{PREFIX}/00000000\.json: not an entry of a search; delete {PREFIX}/"):
        journal.read_logs(0)
    store.put(f"{PREFIX}/00000000.json", json.dumps({"journal": "another", "logs": [{"op_code": 0}]}).encode())
    assert journal.read_logs(0) == []
