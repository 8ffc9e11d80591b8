"""A headless Chromium, steered over its own protocol through two pipes: no driver, no port, no library."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.debian import must_be_there

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((path for path in map(shutil.which, NAMES) if path), None)
MISSING = f"no Chromium on PATH ({', '.join(NAMES)})"
needs_chromium = pytest.mark.skipif(PROGRAM is None and not must_be_there("chromium"), reason=MISSING)
DEADLINE_S = 30


class Tab:
    """One page, with a profile of its own."""

    def __init__(self, browser: "Chromium", session: str) -> None:
        self.browser, self.session = browser, session
        self.complaints: list[str] = []
        """What the page wrote to the console, and what its policy refused."""
        self.loads = 0

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.send(method, self.session, **parameters)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """The first true value of an expression."""
        return _until(lambda: self.run(expression), lambda: f"{expression}; the page says: {self.run('document.body.innerText')}")

    def text(self, selector: str) -> str:
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def open(self, address: str) -> None:
        before = self.loads
        self.send("Page.navigate", url=address)
        _until(lambda: self.browser.send("Browser.getVersion") and self.loads > before, lambda: f"{address} is open")

    def look(self, width: int, *, dark: bool = False, height: int = 900) -> None:
        """Be as wide as this, in CSS pixels, and light or dark."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def choose(self, selector: str, *paths: Path) -> None:
        """Choose files in a file field."""
        node = self.send("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")["result"]["objectId"]
        self.send("DOM.setFileInputFiles", objectId=node, files=[str(path) for path in paths])

    def drop(self, selector: str, *paths: Path) -> None:
        """Drag files from outside onto an element, and let them go."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView()")
        middle = "(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector(%s).getBoundingClientRect())"
        x, y = self.run(middle % json.dumps(selector))
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def press(self, key: str) -> None:
        code = {"Tab": 9, "Enter": 13, " ": 32}[key]
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            parameters = {"text": text} if text and kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key.strip() or "Space", windowsVirtualKeyCode=code, **parameters)

    def write(self, text: str) -> None:
        self.send("Input.insertText", text=text)


class Chromium:
    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = os.fdopen(requests, "wb", buffering=0), answers
        self._unread = b""
        self._number = 0
        self._tabs: dict[str, Tab] = {}

    def tab(self) -> Tab:
        """A new page; it shares nothing with the others."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.send(f"{domain}.enable")
        return tab

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        self._requests.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _read(self) -> bytes:
        while b"\0" not in self._unread:
            assert select.select([self._answers], [], [], DEADLINE_S)[0], f"Chromium said nothing for {DEADLINE_S} s"
            received = os.read(self._answers, 1 << 16)
            assert received, "Chromium ended"
            self._unread += received
        message, _, self._unread = self._unread.partition(b"\0")
        return message

    def _note(self, event: dict[str, Any]) -> None:
        tab = self._tabs.get(event.get("sessionId", ""))
        if tab is None:
            return
        if event["method"] == "Page.loadEventFired":
            tab.loads += 1
        elif event["method"] == "Log.entryAdded":
            tab.complaints.append(event["params"]["entry"]["text"])
        elif event["method"] == "Runtime.exceptionThrown":
            tab.complaints.append(str(event["params"]["exceptionDetails"]))
        elif event["method"] == "Runtime.consoleAPICalled":
            tab.complaints.append(str(event["params"]["args"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """A browser that ends with the block."""
    if PROGRAM is None:
        pytest.fail(f"{MISSING} (.ci/run tried to install it)", pytrace=False)
    its_requests, our_requests = os.pipe()
    our_answers, its_answers = os.pipe()
    # It reads from descriptor 3 and writes to 4. Root cannot have its sandbox, and containers often have a small /dev/shm.
    options = "--headless=new --remote-debugging-pipe --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run"
    command = f'exec "$0" {options} --user-data-dir="$1" about:blank 3<&{its_requests} 4>&{its_answers}'
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", command, PROGRAM, str(profile)],
            pass_fds=(its_requests, its_answers),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    os.close(its_requests)
    os.close(its_answers)
    browser = Chromium(our_requests, our_answers)
    try:
        yield browser
        browser.send("Browser.close")
        process.wait(DEADLINE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        browser._requests.close()
        os.close(our_answers)


def _until(condition: Callable[[], Any], what: Callable[[], str]) -> Any:
    """Polls: the protocol has no event for what a page has drawn."""
    end = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {DEADLINE_S} s: {what()}"
        time.sleep(0.02)
    return value
