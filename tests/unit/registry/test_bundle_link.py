"""Links to a version, which travel in place of its bundle."""

import json
from pathlib import Path

import pytest

from driftloop import bundle, registry
from driftloop.errors import IntegrityError, NotFound
from driftloop.registry.bundle_link import LINK, linked_bundle, write_link
from driftloop.store import Store
from tests.factories.candidates import write_candidate, write_gate_evidence


def registered(store: Store, folder: Path, seed: int = 1) -> Path:
    """Register a version; its bundle, downloaded."""
    candidate = write_candidate(folder / f"candidate-{seed}", seed=seed)
    version = registry.register(store, candidate, write_gate_evidence(folder / f"evidence-{seed}", candidate, champion=None))
    registry.download(store, version, folder / version)
    return folder / version


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_link_leads_to_the_very_files_and_holds_only_the_small_ones(store: Store, tmp_path: Path) -> None:
    whole = registered(store, tmp_path)
    write_link(tmp_path / "link", "1", whole)
    link = files(tmp_path / "link")
    assert json.loads(link.pop(LINK)) == {"version": "1", "digest": bundle.digest_of(whole)}
    assert link.keys() < files(whole).keys()
    assert bundle.ONNX_FP32 not in link
    assert bundle.read_model(tmp_path / "link") == bundle.read_model(whole)
    assert bundle.digest_of(tmp_path / "link") == bundle.digest_of(whole)
    fetched = linked_bundle(store, tmp_path / "link", tmp_path / "scratch")
    assert fetched.parent == tmp_path / "scratch"
    assert files(fetched) == files(whole)


def test_a_link_is_made_in_any_folder_and_again_by_a_step_that_is_repeated(store: Store, tmp_path: Path) -> None:
    whole = registered(store, tmp_path)
    link = tmp_path / "not" / "there yet"
    write_link(str(link), "1", whole)
    first = files(link)
    write_link(link, "1", whole)
    assert files(link) == first


def test_a_bundle_is_its_own(store: Store, tmp_path: Path) -> None:
    whole = registered(store, tmp_path)
    assert linked_bundle(store, str(whole), tmp_path / "scratch") == whole
    assert not (tmp_path / "scratch").exists()


def test_a_version_that_is_damaged_or_gone_or_another_is_one_line(store: Store, tmp_path: Path) -> None:
    write_link(tmp_path / "link", "1", registered(store, tmp_path))
    other = registered(store, tmp_path, seed=2)
    (tmp_path / "link" / LINK).write_text(json.dumps({"version": "1", "digest": bundle.digest_of(other)}))
    with pytest.raises(IntegrityError, match="version 1 is not the one that was watched"):
        linked_bundle(store, tmp_path / "link", tmp_path / "a")
    store.put(f"versions/1/{bundle.ONNX_FP32}", b"damaged")
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        linked_bundle(store, tmp_path / "link", tmp_path / "b")
    store.delete(f"versions/1/{bundle.SUMS}")
    with pytest.raises(NotFound, match="no complete version 1"):
        linked_bundle(store, tmp_path / "link", tmp_path / "c")
    (tmp_path / "link" / LINK).write_text("{")
    with pytest.raises(IntegrityError, match=LINK):
        linked_bundle(store, tmp_path / "link", tmp_path / "d")
