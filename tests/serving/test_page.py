"""The page `/` in a real headless Chromium, as people use it: by mouse, keyboard, phone, in the dark, and when things go wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.serving.chromium import Chromium, Tab, chromium, needs_chromium
from tests.serving.stand_in import StandIn, serving

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("browser") / "profile") as running:
        yield running


@pytest.fixture
def service() -> Iterator[StandIn]:
    stand_in = StandIn()
    with serving(stand_in.app()) as stand_in.address:
        yield stand_in


@pytest.fixture
def tab(browser: Chromium, service: StandIn) -> Tab:
    opened = browser.tab()
    opened.look(1280)
    opened.open(f"{service.address}/")
    return opened


def image(path: Path, form: str = "PNG") -> Path:
    levels = np.random.default_rng(len(path.name)).integers(60, 200, (48, 64), dtype=np.uint8)
    Image.fromarray(levels).resize((256, 192), Image.Resampling.BICUBIC).save(path, form)
    return path


def answers(tab: Tab, count: int) -> None:
    tab.until(f"document.querySelectorAll('.outcome:not([hidden]), .failure:not([hidden])').length == {count}")


def test_an_image_that_is_chosen_is_answered(tab: Tab, tmp_path: Path) -> None:
    tab.choose("#choose", image(tmp_path / "sharp.png"))
    answers(tab, 1)
    card = tab.text(".answer")
    assert "sharp.png" in card
    assert tab.text(".class").split() == ["PNEUMONIA", "96.9", "%", "confident"]
    assert tab.run("[...document.querySelectorAll('.bars:first-of-type li')].map(e => e.innerText.split('\\n').filter(Boolean))") == [
        ["PNEUMONIA", "96.9 %"],
        ["NORMAL", "3.1 %"],
    ]
    assert "This image is unusual. Sharpness 812 is higher than in 99.6 % of the reference." in card
    assert "1 of 250 usual images looks as unusual (p\u00a0=\u00a00.004)." in card
    assert "sharpness: here 812, usually 90 to 400" in card
    assert "Version 3 · request 01hf" in card
    widths = tab.run(
        "[...document.querySelectorAll('.bar')].map(e => e.firstChild.getBoundingClientRect().width / e.getBoundingClientRect().width)"
    )
    assert widths == pytest.approx([0.969, 0.031], abs=0.01)
    assert tab.run("document.querySelector('.picture img').naturalWidth") == 256
    assert tab.text("#said") == "sharp.png: PNEUMONIA, 96.9 % confident. This image is unusual."
    assert tab.complaints == []


def test_several_images_are_dropped_at_once_and_anywhere(tab: Tab, tmp_path: Path) -> None:
    tab.drop("#drop", *(image(tmp_path / f"usual-{number}.png") for number in range(5)))
    answers(tab, 5)
    tab.drop("footer", image(tmp_path / "late.png"))
    answers(tab, 6)
    assert tab.run("location.pathname") == "/"
    assert [name.split("-")[0] for name in tab.run("[...document.querySelectorAll('.name')].map(e => e.innerText)")] == ["late.png"] + [
        "usual"
    ] * 5
    assert "This image looks as usual. Edge density 0.21 is within 0.08 to 0.33." in tab.text(".answer")
    tab.run("document.querySelector('#clear').click()")
    assert tab.run("document.querySelectorAll('.answer').length") == 0


def test_what_became_of_an_image_that_its_sender_may_not_expect_is_said(tab: Tab, tmp_path: Path) -> None:
    tab.choose("#choose", image(tmp_path / "usual.png"))
    answers(tab, 1)
    assert "levels" not in tab.text(".answer").lower()
    tab.choose("#choose", image(tmp_path / "deep.png"))
    answers(tab, 2)
    assert (
        tab.text(".note:not([hidden])")
        == "Levels above 4,095, the highest that the model was trained on, were read as if these were that one."
    )


def test_the_keyboard_reaches_everything_in_order(tab: Tab, tmp_path: Path) -> None:
    tab.choose("#choose", image(tmp_path / "sharp.png"))
    answers(tab, 1)
    tab.until("document.querySelectorAll('#recent tr').length == 1")
    tab.run("document.activeElement.blur()")
    reached = []
    for _ in range(8):
        tab.press("Tab")
        reached.append(tab.run("(e => e.id || e.className || e.getAttribute('href'))(document.activeElement)"))
    assert reached[:5] == ["choose", "clear", "yes", "no", "recent-scroll"]
    assert reached[5:7] == ["docs", "metrics"]


def test_feedback_says_yes_or_names_another_class(tab: Tab, service: StandIn, tmp_path: Path) -> None:
    tab.choose("#choose", image(tmp_path / "right.png"))
    answers(tab, 1)
    tab.run("document.querySelector('.yes').focus()")
    tab.press("Enter")
    tab.until("document.querySelector('.told').innerText == 'Thank you: kept as PNEUMONIA.'")
    tab.choose("#choose", image(tmp_path / "wrong.png"))
    answers(tab, 2)
    tab.run("document.querySelector('.no').focus()")
    tab.press(" ")
    assert tab.run("document.activeElement.tagName") == "SELECT"
    assert tab.run("[...document.activeElement.options].map(option => option.value)") == ["NORMAL"]
    tab.run("document.querySelector('.correction button').click()")
    tab.until("document.querySelector('.told').innerText == 'Thank you: kept as NORMAL.'")
    ids = [row["request_id"] for row in service.recent]
    assert service.feedback == [{"request_id": ids[1], "label": "PNEUMONIA"}, {"request_id": ids[0], "label": "NORMAL"}]


def test_traffic_and_the_champion_are_shown_and_a_new_version_is_announced(tab: Tab, service: StandIn, tmp_path: Path) -> None:
    tab.choose("#choose", image(tmp_path / "sharp.png"))
    tab.until("document.querySelectorAll('#recent tr').length == 1")
    tiles = dict(tab.run("[...document.querySelectorAll('#tiles div')].map(e => [e.children[0].innerText, e.children[1].innerText])"))
    assert tiles == {
        "champion": "driftloop",
        "version": "3",
        "requests a second": "41.2",
        "median latency": "3.1 ms",
        "latency, 95 %": "8.8 ms",
        "images answered": "1,234",
        "errors": "0",
        "in the queue": "0",
        "log rows to be written": "12",
        "log rows lost": "0",
        "changes of champion": "1",
    }
    assert "Counted by this replica alone" in tab.text("#since")
    row = tab.text("#recent tr")
    assert all(part in row for part in ("PNEUMONIA", "96.9 %", "0.004", "3.2 ms", service.recent[0]["request_id"]))
    service.version = "4"
    tab.until("document.querySelector('#said').innerText == 'Version 4 answers now.'")
    assert tab.run("document.title") == "driftloop, version 4"


def test_what_is_no_image_and_a_full_queue_are_one_sentence(tab: Tab, service: StandIn, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    tab.drop("#drop", tmp_path / "notes.txt")
    answers(tab, 1)
    assert tab.text(".failure") == "notes.txt: not an image that can be read."
    (tmp_path / "folder").mkdir()
    tab.drop("#drop", tmp_path / "folder")
    answers(tab, 2)
    assert tab.text(".failure").startswith("folder: not a file that can be read.")
    service.busy = 1
    tab.choose("#choose", image(tmp_path / "usual.png"))
    answers(tab, 3)
    assert "The queue is full. Try again in 2 s." in tab.text(".failure")
    tab.run("document.querySelector('.again').click()")
    tab.until("!document.querySelector('.answer .outcome').hidden")


def test_a_key_is_asked_for_kept_in_the_tab_and_sent(browser: Chromium, service: StandIn, tmp_path: Path) -> None:
    service.key, service.feedback_key = "open sesame", "truth"
    tab = browser.tab()
    tab.open(f"{service.address}/")
    tab.until("!document.querySelector('#key').hidden")
    tab.choose("#choose", image(tmp_path / "first.png"))
    enter(tab, "wrong")
    tab.until("document.querySelector('#key-label').innerText.startsWith('That key was refused.')")
    enter(tab, "open sesame")
    answers(tab, 1)
    tab.until("document.querySelectorAll('#tiles div').length > 0")
    assert tab.run("document.querySelector('#key').hidden")
    tab.run("document.querySelector('.yes').click()")
    tab.until("document.querySelector('#key-label').innerText == 'Feedback asks for a key of its own.'")
    enter(tab, "truth")
    tab.until("document.querySelector('.told').innerText == 'Thank you: kept as PNEUMONIA.'")
    tab.open(f"{service.address}/?again")
    tab.until("document.querySelectorAll('#tiles div').length > 0")
    assert tab.run("[document.querySelector('#key').hidden, localStorage.length, document.cookie]") == [True, 0, ""]


def test_feedback_takes_the_key_that_is_there_where_it_has_none_of_its_own(browser: Chromium, service: StandIn, tmp_path: Path) -> None:
    service.key = service.feedback_key = "open sesame"
    tab = browser.tab()
    tab.open(f"{service.address}/")
    tab.until("!document.querySelector('#key').hidden")
    enter(tab, "open sesame")
    tab.choose("#choose", image(tmp_path / "usual.png"))
    answers(tab, 1)
    tab.run("document.querySelector('.yes').click()")
    tab.until("document.querySelector('.told').innerText == 'Thank you: kept as PNEUMONIA.'")


def test_a_service_without_a_champion_says_so(tab: Tab, service: StandIn, tmp_path: Path) -> None:
    service.version = None
    tab.until("document.querySelector('#since').innerText == 'No model answers yet: none is promoted, or the store is away.'")
    tab.choose("#choose", image(tmp_path / "usual.png"))
    answers(tab, 1)
    assert "No model answers yet: none is promoted, or the store is away; try again later." in tab.text(".failure")
    service.version = "1"
    tab.until("document.querySelector('#said').innerText == 'Version 1 answers now.'")


def enter(tab: Tab, key: str) -> None:
    tab.run("document.querySelector('#key-value').focus()")
    tab.write(key)
    tab.press("Enter")


def test_no_key_is_asked_for_where_none_is_needed(tab: Tab) -> None:
    tab.until("document.querySelectorAll('#tiles div').length > 0")
    assert tab.run("document.querySelector('#key').hidden")


def test_a_service_that_is_gone_is_said_and_its_return_is_noticed(browser: Chromium, tmp_path: Path) -> None:
    stand_in = StandIn()
    tab = browser.tab()
    with serving(stand_in.app()) as address:
        tab.open(f"{address}/")
        tab.until("document.querySelectorAll('#tiles div').length > 0")
    tab.until("!document.querySelector('#trouble').hidden")
    assert tab.text("#trouble") == "The service cannot be reached."
    tab.choose("#choose", image(tmp_path / "lost.png"))
    answers(tab, 1)
    assert "The service cannot be reached." in tab.text(".failure")
    with serving(stand_in.app(), int(address.rsplit(":", 1)[1])):
        tab.until("document.querySelector('#trouble').hidden")


def test_names_and_classes_are_text_never_markup(tab: Tab, service: StandIn, tmp_path: Path) -> None:
    service.classes = ["<img src=x onerror=document.title='broken'>", "<b>bold</b>"]
    tab.choose("#choose", image(tmp_path / "<i>name<i>.png", "PNG"))
    answers(tab, 1)
    assert "<b>bold</b>" in tab.text(".class")
    assert "<i>name<i>.png" in tab.text(".name")
    tab.until("document.querySelectorAll('#recent tr').length == 1")
    for place in (".bars", "#recent", "#since"):
        assert "<b>bold</b>" in tab.run(f"document.querySelector('{place}').textContent")
        assert tab.run(f"document.querySelector('{place}').querySelectorAll('img, b').length") == 0
    assert tab.run("document.querySelector('select').value").startswith("<img")


def test_many_classes_are_folded_away(tab: Tab, service: StandIn, tmp_path: Path) -> None:
    service.classes = [f"class {number}" for number in range(12)]
    tab.choose("#choose", image(tmp_path / "many.png"))
    answers(tab, 1)
    assert "7 more classes" in tab.text("details")
    assert tab.run("[...document.querySelectorAll('.bars')].map(e => e.children.length)") == [5, 7]


def test_an_image_that_a_browser_cannot_show_is_answered(tab: Tab, tmp_path: Path) -> None:
    tab.choose("#choose", image(tmp_path / "scan.tif", "TIFF"))
    answers(tab, 1)
    tab.until("!document.querySelector('.no-preview').hidden")


def test_nothing_runs_that_stands_in_the_page_and_nothing_comes_from_elsewhere(tab: Tab) -> None:
    assert tab.run("[...document.querySelectorAll('[style], style, script:not([src]), [onclick], [onload]')].length") == 0
    assert set(tab.run("performance.getEntriesByType('resource').map(e => new URL(e.name).origin)")) == {tab.run("location.origin")}
    assert tab.complaints == []
    tab.run("document.head.append(Object.assign(document.createElement('script'), {textContent: 'document.title = \"run\"'}))")
    assert tab.run("document.title") != "run"
    assert any("Content Security Policy" in complaint for complaint in tab.complaints)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_fits_the_screen_with_contrast_enough_to_read(tab: Tab, service: StandIn, tmp_path: Path, width: int, dark: bool) -> None:
    tab.look(width, dark=dark)
    (tmp_path / "notes.txt").write_text("no image")
    tab.choose("#choose", image(tmp_path / "sharp.png"), image(tmp_path / "usual.png"), tmp_path / "notes.txt")
    answers(tab, 3)
    tab.until("document.querySelectorAll('#recent tr').length == 2")
    tab.run("[document.querySelector('#key').hidden, document.querySelector('#trouble').hidden] = [false, false]")
    tab.run("document.querySelector('#trouble').textContent = 'The service cannot be reached.'")
    tab.run("document.querySelector('.answer:nth-child(2) .no').click()")
    tab.picture(tmp_path / "page.png")
    assert tab.run("document.documentElement.scrollWidth") <= width
    faint = tab.run(CONTRASTS)
    assert faint["checked"] > 50
    assert faint["below"] == [], json.dumps(faint["below"], indent=1)
    small = tab.run(
        "[...document.querySelectorAll('button, select, input, summary')].filter(e => e.checkVisibility())"
        ".map(e => [e.className || e.id, e.getBoundingClientRect().height]).filter(([, height]) => height < 24)"
    )
    assert small == []


def test_everything_that_is_operated_or_read_has_a_name(tab: Tab, tmp_path: Path) -> None:
    tab.choose("#choose", image(tmp_path / "sharp.png"))
    answers(tab, 1)
    tab.run("[document.querySelector('#key').hidden] = [false]")
    tab.run("document.querySelector('.no').click()")
    nodes = tab.send("Accessibility.getFullAXTree")["nodes"]
    operated = {"button", "link", "textbox", "combobox", "MenuListPopup", "image", "table", "region", "group"}
    unnamed = [
        n["role"]["value"]
        for n in nodes
        if not n["ignored"] and n["role"]["value"] in operated - {"MenuListPopup"} and not n["name"]["value"]
    ]
    assert unnamed == []


#: Every visible text with a contrast below WCAG's AA, 4.5 or 3 for large text, against the nearest background that is painted.
CONTRASTS = """(() => {
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = parts(getComputedStyle(element).backgroundColor);
      if (colour.length == 3 || colour[3] == 1) return colour;
    }
    return [255, 255, 255];
  };
  const below = [];
  let checked = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || element.closest('.unseen, template, noscript, option') || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize);
    const [one, other] = [light(parts(style.color)), light(behind(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05), needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    checked += 1;
    if (ratio < needed) below.push([text, ratio]);
  }
  return {checked, below};
})()"""
