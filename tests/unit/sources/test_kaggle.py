"""Datasets of Kaggle: their layouts as folders and archives, and their client against a server that answers as Kaggle does."""

import http.server
import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftloop.errors import InputError
from driftloop.sources import check_source, opened, resolve
from tests.factories.kaggle_layouts import write_chest_xray, write_solar_panels

CHEST, SOLAR = "kaggle:paultimothymooney/chest-xray-pneumonia", "kaggle:tunguz/solar-panel-classification"
CHEST_COUNTS = {(split, label): n for split, n in {"train": 20, "val": 8, "test": 12}.items() for label in ("NORMAL", "PNEUMONIA")}
SOLAR_COUNTS = {("", label): 12 for label in ("Bird Drop", "Clean", "Dusty", "Snow-Covered")}


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The unpacked datasets by source."""
    root = tmp_path_factory.mktemp("kaggle")
    return {CHEST: write_chest_xray(root / "chest"), SOLAR: write_solar_panels(root / "solar")}


def counts(source: str) -> Counter[tuple[str, str]]:
    """Images by split and class, all of them there."""
    with opened(check_source(source), seed=1) as local:
        assert all((local.root / file.path).stat().st_size > 100 for file in local.files), "litter is no image"
        return Counter((file.split, file.label) for file in local.files)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_a_downloaded_dataset_is_a_source_unpacked_or_not(layouts: dict[str, Path], tmp_path: Path, kind: str) -> None:
    for source, expected in ((CHEST, CHEST_COUNTS), (SOLAR, SOLAR_COUNTS)):
        place = layouts[source]
        if kind != "folder":
            form = {"zip": "zip", "tar": "tar", "tar.gz": "gztar"}[kind]
            place = Path(shutil.make_archive(str(tmp_path / place.name), form, place))
        assert counts(str(place)) == expected


def test_classes_are_told_by_file_names_where_that_is_asked_for(layouts: dict[str, Path]) -> None:
    with opened(str(layouts[CHEST]), seed=1, classes="NORMAL, BACTERIA,VIRUS") as local:
        assert Counter(file.label for file in local.files) == {"NORMAL": 40, "BACTERIA": 20, "VIRUS": 20}
        assert all(file.label == "NORMAL" or file.label.lower() in file.path for file in local.files)
    with pytest.raises(InputError, match=r"data_config\.classes=NORMAL,VIRUS: .*_bacteria_.*\.jpeg names none of them, nor"):
        check_source(str(layouts[CHEST]), "NORMAL,VIRUS")


@pytest.fixture
def kaggle(layouts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A server with the two datasets, and Kaggle's own client pointed to it; the names of what it was asked."""
    asked: list[str] = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(self.path.rpartition("/")[2])
            place = layouts.get(f"kaggle:{request['ownerSlug']}/{request['datasetSlug']}")
            if self.headers["Authorization"] != "Bearer good":
                self.answer(401, b'{"code": 401, "message": "Unauthenticated"}', "application/json")
            elif place is None:
                self.answer(404, b'{"code": 404, "message": "Not found"}', "application/json")
            elif asked[-1] == "GetDataset":
                self.answer(200, b'{"currentVersionNumber": 2}', "application/json")
            else:
                archive = Path(shutil.make_archive(str(tmp_path / place.name), "zip", place))
                self.answer(200, archive.read_bytes(), "application/zip")

        def answer(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    environment = pytest.importorskip("kagglesdk.kaggle_env", reason="kagglehub is not installed")
    for name, value in {"KAGGLE_API_TOKEN": "good", "KAGGLEHUB_CACHE": str(tmp_path / "cache"), "KAGGLE_API_ENVIRONMENT": "TEST"}.items():
        monkeypatch.setenv(name, value)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        monkeypatch.setitem(environment._env_to_endpoint, environment.KaggleEnv.TEST, f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield asked
        server.shutdown()
        thread.join()


def test_a_dataset_is_fetched_once_and_read_like_a_folder(kaggle: list[str], layouts: dict[str, Path]) -> None:
    assert resolve(CHEST) == resolve(str(layouts[CHEST]))
    assert counts(CHEST) == CHEST_COUNTS
    assert counts(f"{SOLAR}/versions/1") == SOLAR_COUNTS
    assert Counter(kaggle)["DownloadDataset"] == 2


def test_what_kaggle_refuses_is_one_line_without_the_key(kaggle: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^kaggle:nobody/nothing: Kaggle has no such dataset, or it is private to another"):
        resolve("kaggle:nobody/nothing")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "secret")
    with pytest.raises(InputError, match=r"Kaggle refuses these keys for it; renew KAGGLE_API_TOKEN") as caught:
        resolve(CHEST)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_keys_or_a_network_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = pytest.importorskip("kagglesdk.kaggle_env", reason="kagglehub is not installed")
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "KAGGLE_CONFIG_DIR", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(InputError, match=r"no keys for Kaggle; set KAGGLE_API_TOKEN \(or KAGGLE_USERNAME and KAGGLE_KEY\)"):
        check_source(CHEST)
    monkeypatch.setenv("KAGGLE_API_TOKEN", "good")
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setitem(environment._env_to_endpoint, environment.KaggleEnv.TEST, "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"Kaggle cannot be reached .*; download it elsewhere and give the folder or the zip"):
        resolve(CHEST)


def test_a_wrong_name_or_a_missing_client_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("kaggle:", "kaggle:chest", "kaggle:a/b/c", "kaggle:../..", "kaggle:a/b/versions/0"):
        with pytest.raises(InputError, match="not a dataset of Kaggle; give kaggle:owner/name"):
            check_source(wrong)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"the package kagglehub is not installed here; pip install 'driftloop\[kaggle\]'"):
        check_source(CHEST)


def test_the_client_is_not_loaded_for_other_sources(layouts: dict[str, Path]) -> None:
    code = "import sys; from driftloop.sources import check_source; check_source(sys.argv[1]); assert 'kagglehub' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, layouts[SOLAR]], check=True)
