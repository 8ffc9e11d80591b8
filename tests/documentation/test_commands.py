"""The commands of README and docs: each is read by the real command line, and run as it stands there, or the table says why not."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from driftloop.backends.run_folder import RunFolder
from driftloop.cli.arguments import read_arguments
from driftloop.cli.config import find_settings
from driftloop.cli.main import app
from driftloop.rehearsal.timeline import plan_timeline
from driftloop.scenarios import parse as parse_drift
from driftloop.sources import write_source
from driftloop.sources.built_in import check_built_in, is_built_in
from driftloop.summary import ChampionSummary, Summary
from pipelines import PIPELINES
from tests.documentation.documented_commands import ROOT, Documented, calls, documented, named_in_sentences, parse
from tests.factories.serving_store import CLASSES, build_serving_store, register_and_promote, textured_squares

COMMANDS = documented()
#: Why a command is not run here, by what it begins with or holds; the first that fits counts.
NOT_RUN = {
    r"^demo": "trains for minutes: tests/serving/test_demo.py takes a store that has a champion",
    r"^track ": "needs a tracker: tests/unit/tracking",
    r"--notify": "needs a receiver: tests/unit/alerts, tests/unit/cli/test_alerts.py",
    r"--on cluster|^schedule ": "needs a Kubeflow cluster: tests/cluster",
    r"--on docker": "needs Docker: tests/docker",
    r"s3://": "needs an S3 server: tests/unit/store, tests/unit/housekeeping/test_backup.py",
    r"^run ": "trains for minutes, or watches what such a run left: tests/pipelines runs these pipelines on digits",
    r"^rehearse ": "takes a quarter of an hour: tests/unit/rehearsal/test_digits.py plays a short one",
    r"^serve": "does not end: tests/serving",
    r"elpv:": "needs the photographs of elpv-dataset, of which the licence allows no commercial use: bench/real_drift.py plays it",
    r"^replay .*--to ": "needs the service: tests/serving",
    r"^write-source synthetic": "draws 6,500 images: tests/unit/synthetic draws some",
    r"^drift accept": "needs a watch that called a drift harmless: tests/unit/test_accepted_drifts.py",
    r"^report --lang": "needs what the steps of a run left: tests/unit/backends/test_run_report.py, tests/documentation/test_course.py",
    r"^compile$": "would write into the sources: `make lint` compares them",
}


def why_not_run(command: Documented) -> str:
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, str(command))), "")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader of the pages has it: images, a new site's, a run with its store and two versions, labels, configurations."""
    folder = tmp_path_factory.mktemp("reader")
    write_source("digits", folder / "digits-files")
    (folder / "path" / "to").mkdir(parents=True)
    (folder / "digits-files" / "digits").rename(folder / "path" / "to" / "images")
    run = RunFolder(folder / "runs" / "20260101-000000-full-loop")
    run.path.mkdir(parents=True)
    store, dataset = build_serving_store(run.path)
    register_and_promote(store, run.path, dataset, expected="1", seed=1)
    run.summary.write_text(
        Summary(pipeline="full-loop", run_id=run.id, seed=1, champion=ChampionSummary(before="1", after="2")).model_dump_json()
    )
    (folder / "runs" / "latest").symlink_to(run.id)
    images, labels, _ = textured_squares(40, seed=9)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        site = folder / "path" / "to" / "a-new-site" / CLASSES[label]
        site.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(site / f"{index}.png")
    (folder / "label_requests.csv").write_text(f"request_id,label\nasked,{CLASSES[0]}\n")
    for name in ("labelled.csv", "labels.csv"):
        shutil.copyfile(folder / "label_requests.csv", folder / name)
    (folder / "new-site").symlink_to("path/to/a-new-site")
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "driftloop.yaml").write_text((ROOT / "configs" / "xray.yaml").read_text())
    return folder


@pytest.fixture
def reader(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the prepared folder of a command's own, where it is called; S3 and Kubeflow are not named."""
    folder = tmp_path / "reader"
    shutil.copytree(prepared, folder, symlinks=True)
    for name in [name for name in os.environ if name.startswith(("AWS_", "MINIO_", "KFP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.page}: {command}")
def test_a_documented_command_is_one_that_driftloop_knows(command: Documented, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(prepared)
    name, given = parse(command.words)
    check_values(name, given)


def check_values(name: str, given: dict[str, Any]) -> None:
    """What the command would look at once it has begun: drifts, built-in sources, parameters, settings, configuration files."""
    drift = given.get("drift")
    if drift and name == "rehearse":
        plan_timeline(drift, windows=given["windows"], drift_at=given["drift_at"], phase=given["phase"])
    elif drift:
        parse_drift(drift)
    if is_built_in(given.get("source") or ""):
        check_built_in(given["source"])
    if name == "config explain":
        find_settings(given["key"])
    if given.get("assignments") or given.get("config"):
        read_arguments(PIPELINES[given.get("pipeline", "full-loop")], given["config"] or [], {}, given["assignments"] or [])


@pytest.mark.parametrize("command", [one for one in COMMANDS if not why_not_run(one)], ids=lambda command: f"{command.page}: {command}")
def test_a_documented_command_does_what_it_says(command: Documented, reader: Path) -> None:
    if command.words[0] == "init":
        (reader / "driftloop.yaml").unlink()
        (reader / "my-images").mkdir()
        (reader / "my-images" / "digits").symlink_to(reader / "path" / "to" / "images")
    result = CliRunner().invoke(app, list(command.words), env={"COLUMNS": "100"})
    assert result.exception is None, f"driftloop {command} ended with {result.exit_code}: {result.exception!r}\n{result.output}"
    assert result.output


@pytest.mark.parametrize(
    "line",
    [
        "driftloop run full-lop",
        "driftloop run training --sources digits",
        "driftloop replay --count many",
        "driftloop models lists",
        "driftloop run training && driftloop replay --drift blurr:1",
        "driftloop config explain harm_label_count",
        "driftloop run training --source synthetic:xrays",
        "driftloop run training --set train_config.mixup=11",
        'make run ARGS="--set train_config.mixupp=1"',
    ],
)
def test_a_wrong_command_would_be_noticed(line: str) -> None:
    with pytest.raises(Exception, match=r"."):  # the command line's own errors have no public name
        check(line)


def check(line: str) -> None:
    for words in calls(line):
        check_values(*parse(words))


def test_every_reason_not_to_run_a_command_is_needed() -> None:
    used = {why_not_run(command) for command in COMMANDS}
    assert [reason for reason in NOT_RUN.values() if reason not in used] == []


#: How the command line takes what a sentence leaves out: an argument, a sub-command; and --help.
LEFT_OUT = ("MissingParameter", "NoArgsIsHelpError", "Exit")


@pytest.mark.parametrize(("page", "text"), named_in_sentences(), ids=lambda value: value)
def test_a_command_in_a_sentence_is_one_that_driftloop_knows(page: str, text: str) -> None:
    """Arguments may be left out there, and several sub-commands named with bars between them."""
    words = re.sub(r"[.]{3}|…|\[\w+\]", "", text.replace('"..."', "why")).split()
    for last in words[1].split("|") if len(words) == 2 and "|" in words[1] else [None]:
        try:
            parse(tuple(words if last is None else [words[0], last]))
        except Exception as left_out:
            if type(left_out).__name__ not in LEFT_OUT:
                raise


@pytest.mark.parametrize("page", ["README.md", "docs/usage.md", "docs/operations.md"])
def test_the_make_targets_of_a_page_are_there(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`|&& )make ([a-z-]+(?: [a-z-]+)*)", (ROOT / page).read_text(), re.MULTILINE)
    assert {target for names in named for target in names.split()} - targets == set()
