"""The page on the real service: a champion that answers, its log, and a promotion while somebody looks."""

from pathlib import Path

from PIL import Image

from driftloop.serving.app import create_app
from driftloop.serving.service import Service
from driftloop.serving.settings import ServingSettings
from tests.factories.serving_store import build_serving_store, register_and_promote, textured_squares
from tests.serving.chromium import chromium, needs_chromium
from tests.serving.stand_in import serving


@needs_chromium
def test_a_person_gets_an_answer_corrects_it_and_sees_the_next_version_take_over(tmp_path: Path) -> None:
    store, dataset = build_serving_store(tmp_path / "production", stream=0)
    service = Service(store, ServingSettings(poll_seconds=0.2, flush_seconds=0.2, api_keys=("öffne dich €",), feedback_keys=("truth",)))
    service.start()
    squares = textured_squares(2, seed=5)[0]
    for name, square in zip(("bright", "dark"), squares, strict=True):
        Image.fromarray(square[..., 0]).save(tmp_path / f"{name}.png")
    Image.new("L", (40, 40), 255).save(tmp_path / "blank.png")
    (tmp_path / "notes.txt").write_text("no image")

    with serving(create_app(service)) as address, chromium(tmp_path / "profile") as browser:
        tab = browser.tab()
        tab.look(1280)
        tab.open(f"{address}/")
        for key in ("wrong", "öffne dich €"):
            tab.until("!document.querySelector('#key').hidden")
            tab.run("document.querySelector('#key-value').focus()")
            tab.write(key)
            tab.press("Enter")
            tab.until("document.querySelector('#key').hidden || document.querySelector('#key-label').innerText.startsWith('That key')")
        tab.choose("#choose", *(tmp_path / name for name in ("bright.png", "dark.png", "blank.png", "notes.txt")))
        tab.until("document.querySelectorAll('.outcome:not([hidden])').length == 3 && !!document.querySelector('.failure:not([hidden])')")
        said = tab.run(
            "Object.fromEntries([...document.querySelectorAll('.answer')].map(e => [e.querySelector('.name').innerText, e.innerText]))"
        )
        assert "bright" in said["bright.png"].split("\n\n")[1]
        assert "dark" in said["dark.png"].split("\n\n")[1]
        assert "This image is unusual." in said["blank.png"]
        assert "image" in said["notes.txt"].removeprefix("notes.txt")
        assert "Counted by this replica alone. Version 1 has answered since" in tab.text("#since")
        tab.until("document.querySelectorAll('#recent tr').length == 3")

        tab.run("document.querySelector('.outcome:not([hidden]) .yes').click()")
        tab.until("!document.querySelector('#key').hidden")
        assert tab.text("#key-label") == "Feedback asks for a key of its own."
        tab.run("document.querySelector('#key-value').focus()")
        tab.write("truth")
        tab.press("Enter")
        tab.until("[...document.querySelectorAll('.told')].some(e => e.innerText.startsWith('Thank you: kept as'))")

        register_and_promote(store, tmp_path, dataset, expected="1", seed=7)
        tab.until("document.querySelector('#said').innerText == 'Version 2 answers now.'")
        assert tab.complaints == [complaint for complaint in tab.complaints if "status of 4" in complaint]


@needs_chromium
def test_the_interface_is_described_from_this_service_alone(tmp_path: Path) -> None:
    store, _ = build_serving_store(tmp_path / "production", stream=0)
    service = Service(store, ServingSettings())
    service.start()
    with serving(create_app(service)) as address, chromium(tmp_path / "profile") as browser:
        tab = browser.tab()
        for width, dark in ((1280, False), (390, True)):
            tab.look(width, dark=dark)
            tab.open(f"{address}/docs?{width}")
            tab.until("document.querySelectorAll('section').length > 3")
            tab.picture(tmp_path / f"docs-{width}.png")
            assert tab.run("document.documentElement.scrollWidth") <= width
        shown = tab.text("main")
        for said in (
            "POST /predict",
            f"curl -F image=@photo.png {address}/predict",
            "predictions[].unusual.p_value",
            "POST /feedback",
            "request_id",
        ):
            assert said in shown
        assert tab.run("document.querySelector('#trouble').hidden")
        assert tab.complaints == []
