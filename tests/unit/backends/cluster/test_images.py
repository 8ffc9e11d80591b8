"""What is uploaded: images by content, and a version named by the hash of the result."""

import re

import pytest
import yaml

from driftloop.backends.cluster.uploads import compile_upload, content_tags, image_prefix
from driftloop.errors import InputError
from pipelines import PIPELINES


def images_in(text: str) -> set[str]:
    executors = next(yaml.safe_load_all(text))["deploymentSpec"]["executors"].values()
    return {executor["container"]["image"] for executor in executors}


def test_every_image_is_named_by_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIFTLOOP_IMAGE_PREFIX", raising=False)
    upload = compile_upload(PIPELINES["full-loop"])
    tags = content_tags(["train", "watch"])
    assert all(re.fullmatch("[0-9a-f]{12}", tag) for tag in tags.values())
    assert images_in(upload.text) == set(upload.images) == {f"driftloop-{name}:{tag}" for name, tag in tags.items()}
    assert upload.name == "full-loop"
    assert "- data_source: " in upload.description


def test_the_version_follows_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIFTLOOP_IMAGE_PREFIX", raising=False)
    plain = compile_upload(PIPELINES["training"])
    assert compile_upload(PIPELINES["training"]).version == plain.version
    monkeypatch.setenv("DRIFTLOOP_IMAGE_PREFIX", "localhost:5001")
    prefixed = compile_upload(PIPELINES["training"])
    assert prefixed.version != plain.version
    assert images_in(prefixed.text) == {f"localhost:5001/{image}" for image in plain.images}


def test_without_a_checkout_the_release_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from driftloop import __version__
    from driftloop.backends.cluster import uploads

    monkeypatch.setattr(uploads, "BUILD", uploads.BUILD.with_name("not-there.sh"))
    assert content_tags(["watch"]) == {"watch": __version__}


@pytest.mark.parametrize("prefix", ["localhost:5001/", "ghcr.io/me", "registry.example.org:5000/team/product/"])
def test_a_registry_is_a_prefix(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOOP_IMAGE_PREFIX", prefix)
    assert image_prefix() == prefix.rstrip("/") + "/"


@pytest.mark.parametrize("prefix", ["https://ghcr.io/me", "ghcr.io/Me/", "a b", "ghcr.io//me"])
def test_anything_else_is_not(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOOP_IMAGE_PREFIX", prefix)
    with pytest.raises(InputError, match="DRIFTLOOP_IMAGE_PREFIX"):
        image_prefix()
