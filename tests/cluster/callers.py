"""Runs in a pod of the watch image: callers of a service until the file /tmp/stop is there, then one line of JSON with what came of it.

Half of the callers keep their connections, half open one for each request. A request whose connection broke is sent again under the same
id, as an ingress does (and callers who want no request lost), and counted. Stops by itself after SECONDS.
"""

import json
import os
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import urllib3

STOP = Path("/tmp/stop")
TRIES = 5


def call(index: int, answers: dict[str, int], broken: Counter[str]) -> None:
    headers = {"Content-Type": "image/png", "Authorization": f"Bearer {os.environ['KEY']}"}
    kept = "closed" if index % 2 else "kept"
    if kept == "closed":
        headers["Connection"] = "close"
    image, until = bytes.fromhex(os.environ["IMAGE"]), time.monotonic() + float(os.environ["SECONDS"])
    with urllib3.PoolManager(retries=False, timeout=20) as http:
        while not STOP.exists() and time.monotonic() < until:
            name = uuid.uuid4().hex
            for _ in range(TRIES):
                try:
                    answers[name] = http.request("POST", os.environ["URL"], body=image, headers=headers | {"X-Request-Id": name}).status
                    break
                except urllib3.exceptions.HTTPError as error:
                    answers[name] = 0
                    broken[f"{kept}: {type(error).__name__}"] += 1
                    time.sleep(0.2)
            time.sleep(float(os.environ["PAUSE"]))


if __name__ == "__main__":
    found: dict[str, int] = {}
    broke: Counter[str] = Counter()
    threads = [threading.Thread(target=call, args=(index, found, broke)) for index in range(int(os.environ["CALLERS"]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"answers": found, "broken": broke}))
