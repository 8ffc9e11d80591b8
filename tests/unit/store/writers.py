"""What the processes run that the tests race against each other, or kill."""

import secrets
import sys
from pathlib import Path

from driftloop.errors import Conflict
from driftloop.store.local import LocalStore

#: Every object that `write_for_ever` writes is one byte, repeated: any mixture or part of two is seen at once.
OBJECT_BYTES = 1 << 20


def race(root: str, mode: str, keys: int) -> None:
    """Try to create, or to replace once, each of `keys` objects, and print the numbers of those that were won."""
    store = LocalStore(root)
    tags = [store.read_tagged(f"key/{number}")[1] for number in range(keys)] if mode == "replace" else []
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(keys):
        data = secrets.token_bytes(16)
        try:
            if mode == "create":
                store.create(f"key/{number}", data)
            else:
                store.replace(f"key/{number}", data, tags[number])
        except Conflict:
            continue
        print(number, flush=True)


def write_for_ever(root: str) -> None:
    """Write objects in every way there is, saying so before each, until killed."""
    store = LocalStore(root)
    source = Path(root).with_name("source")
    source.write_bytes(b"s" * OBJECT_BYTES)
    name = secrets.token_hex(4)
    tag = store.create(f"replaced/{name}", b"r" * OBJECT_BYTES)
    number = 0
    while True:
        number += 1
        print(number, flush=True)
        byte = b"%d" % (number % 10)
        store.create(f"created/{name}-{number}", byte * OBJECT_BYTES)
        tag = store.replace(f"replaced/{name}", byte * OBJECT_BYTES, tag)
        store.put("put", byte * OBJECT_BYTES)
        store.upload("uploaded", source)


if __name__ == "__main__":
    if sys.argv[1] == "for-ever":
        write_for_ever(sys.argv[2])
    else:
        race(sys.argv[2], sys.argv[1], int(sys.argv[3]))
