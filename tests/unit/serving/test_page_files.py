"""The page's files over HTTP, without a browser (tests/serving/test_page.py has one), and in the package that is installed."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePath

import httpx
import pytest
from fastapi import FastAPI

from driftloop.serving.page import FILES, page_router
from tests.serving.stand_in import serving

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    app = FastAPI(docs_url=None)
    app.include_router(page_router())
    with serving(app) as address, httpx.Client(base_url=address) as client:
        yield client


@pytest.mark.parametrize("path", FILES)
def test_every_file_is_served_with_its_type_and_a_strict_policy(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    name, media_type = FILES[path]
    assert response.status_code == 200
    assert response.content == (ROOT / "driftloop/serving/page" / name).read_bytes()
    assert response.headers["content-type"] == media_type
    assert "default-src 'self'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]
    assert client.head(path).status_code == 200


def test_the_page_names_no_other_host_and_works_below_a_prefix(client: httpx.Client) -> None:
    for path in FILES:
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://", text)
        assert not re.search(r"""(?:src|href|fetch\(|ask\()=?["']/""", text)


def test_the_installed_package_has_the_files() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["driftloop"]
    for name, _ in FILES.values():
        assert any(PurePath("serving/page", name).match(pattern.removeprefix("**/")) for pattern in patterns), name


def test_it_is_no_part_of_the_interface_for_programs(client: httpx.Client) -> None:
    assert client.get("/openapi.json").json()["paths"] == {}
