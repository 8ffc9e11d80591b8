"""`versions/refused/`: the gate's evidence on candidates that a training run offered in vain.

They are no versions, but each has used the test split. (A refused retraining is in its watch's record.)
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from driftloop.errors import Conflict
from driftloop.registry.versions import GATE, PREFIX
from driftloop.store import Store

REFUSED = f"{PREFIX}refused/"


def keep_refusal(store: Store, evidence_dir: str | Path) -> None:
    """Keep what the gate said, once: a step that is repeated has the same evidence, and so the same key."""
    evidence = Path(evidence_dir, GATE).read_bytes()
    try:
        store.create(f"{REFUSED}{hashlib.sha256(evidence).hexdigest()[:16]}.json", evidence)
    except Conflict:
        return


def refusals(store: Store) -> list[dict[str, Any]]:
    """The gate.json of each refused candidate."""
    return [json.loads(store.read(info.key)) for info in store.list(REFUSED)]
