"""Bad input to any command: exit status 2, one line that names what was given or how to mend it, no traceback, and nothing written."""

import sys
from pathlib import Path

import pytest

from driftloop.cli.main import main

#: Values that no option of the kind takes.
BAD_DURATIONS = ("0d", "-1d", "1 fortnight", "d", "1e9d", "30s", "")
BAD_STORES = ("nowhere", "s3://", "s3://UPPER/x", "s3://a", "ftp://host/x", "file.txt")
BAD_SETTINGS = (
    "nonsense",
    "=3",
    "gate_margin",
    "gate_margin=",
    "gate_margin=wide",
    "gate_margin=5",
    "gate_margin=-0.1",
    "lang=klingon",
    "gate_margin=[0.1]",
    "data_image_size=7",
    "data_image_size=64.5",
    "data_image_size=huge",
    "train_epochs=0",
    "train_epochs=-3",
    "train_epochs=1e9",
    "seed=-1",
    "seed=x",
    "drift_alpha=0",
    "drift_alpha=1",
    "drift_alpha=nan",
    "gpus=lots",
    "gpus=-1",
    "train_config=3",
    "train_config.nothing=1",
    "train_config.batch_size=0",
    "train_config.batch_size=many",
    "train_config.architecture=resnet18",
    "train_config.architecture=timm:no_such_network",
    "train_config.weights=nowhere.pth",
    "train_config.learning_rate=-1",
    "data_config.stream_share=2",
    "data_config.stream_share=nan",
    "deploy_config.benchmark_seconds=-1",
    "gate_config.nothing=1",
    "placement.model_promotion.memory=4Gi",
    "placement.nothing.memory=4Gi",
    "placement.model_promotion.memory=much",
)
BAD_WATCH_SETTINGS = (
    "monitor_config.max_rows=5",
    "monitor_config.max_rows=all",
    "monitor_config.late_hours=0",
    "monitor_config.settle_seconds=1",
    "drift_config.window_size=1",
    "drift_config.cooldown_days=-1",
    "drift_config.teaching=maybe",
    "retrain_config.epochs=0",
    "retrain_config.image_mib=0",
    "retrain_config.learning_rate=9",
)
BAD_SOURCES = ("nowhere", "synthetic:cats", "digits:1", "elpv:thin", "s3://", "x.zip", "kaggle", "file.txt", "synthetic:", ".")
BAD_DRIFTS = ("fog:1", "blur:", "blur:two", "blur:-1", "blur:9", "blur++noise", "blur:nan", ":1", "prior:x")

CASES: list[list[str]] = [
    *(["run", "training", "--set", text] for text in BAD_SETTINGS),
    *(["run", "full-loop", "--set", text] for text in (*BAD_SETTINGS[:12], *BAD_WATCH_SETTINGS)),
    *(["run", "full-loop", "--source", source] for source in BAD_SOURCES),
    *(["run", "full-loop", "--drift", drift] for drift in BAD_DRIFTS),
    *(["rehearse", "--source", "digits", "--drift", drift] for drift in BAD_DRIFTS),
    *(["replay", "--store", store] for store in BAD_STORES),
    *(["report", run] for run in ("", "nowhere", ".")),
    *(["run", "drift-watch", "--store", store] for store in BAD_STORES),
    *(["run", "drift-watch", "--source", "digits"], ["run", "drift-watch", "--drift", "blur:1"], ["run", "training", "--drift", "blur:1"]),
    *(["run", "training", "--config", name] for name in ("none.yaml", "file.txt", "list.yaml", "broken.yaml", ".")),
    *(["run", "training", "--experiment", "x"], ["run", "training", "--no-wait"]),
    *(["status", "--store", store] for store in BAD_STORES),
    *(["status", "--every", text] for text in BAD_DURATIONS),
    *(["prune", "--store", store] for store in BAD_STORES),
    *(["prune", "--older-than", text] for text in BAD_DURATIONS),
    *(["prune", "--wait", text] for text in BAD_DURATIONS),
    *(["models", command, "--store", store] for command in ("list", "release", "restore-pointer") for store in BAD_STORES),
    *(["models", "show", version, "--store", "empty"] for version in ("1", "0", "-1", "x", "../1", "")),
    *(["models", "promote", version, "--store", "empty"] for version in ("1", "0", "x", "../1")),
    *(["models", "rollback", "--store", "empty"], ["models", "rollback", "--store", "empty", "--reason", ""]),
    *(["models", "diff", "1", "2", "--store", "empty"],),
    *(["labels", "import", name, "--store", "empty"] for name in ("none.csv", "file.txt", "broken.yaml", ".")),
    *(["store", "upgrade", "--store", store] for store in BAD_STORES),
    *(["rehearse", "--source", source] for source in BAD_SOURCES),
    *(["rehearse", "--source", "digits", "--set", text] for text in BAD_WATCH_SETTINGS),
    *(["rehearse", "--source", "digits", option, value] for option in ("--windows", "--drift-at", "--phase") for value in ("0", "-3")),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a few files that are not what commands want; S3 is nowhere."""
    (tmp_path / "file.txt").write_text("not, what: you [think\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_bytes(b"a: [\xff\n")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.mark.parametrize("arguments", CASES, ids=" ".join)
def test_it_is_one_line(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["driftloop", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err
    assert ended.value.code == 2, error
    lines = error.strip().splitlines()
    # typer draws a frame around what it finds itself; ours is one line.
    said = [line for line in lines if line.startswith("driftloop: ")] or [line for line in lines if line.startswith("│")]
    assert len(said) == 1, error
    assert len(lines) == 1 or lines[0].startswith("Usage:"), error
    assert "Traceback" not in error
    assert sorted(folder.rglob("*")) == before
