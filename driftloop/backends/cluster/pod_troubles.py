"""What keeps a step's pod from starting or ends it, and what a person can do about it."""

import re
from collections.abc import Mapping

from driftloop.backends.cluster.live_table import StepProgress
from pipelines.placement import STORE_CONFIG, STORE_SECRET

#: What Kubernetes reports of a pod that waits for something that nobody but a person can bring, and what that is.
CURES = {
    "CreateContainerConfigError": f"make Secret {STORE_SECRET} and ConfigMap {STORE_CONFIG} as k8s/README.md says",
    "CreateContainerError": "see the pod's events with kubectl describe",
    "RunContainerError": "see the pod's events with kubectl describe",
    "ErrImageNeverPull": "load the image into the nodes with `make cluster-images`",
    "InvalidImageName": "write DRIFTLOOP_IMAGE_PREFIX like registry.example.com/team/",
}
HOPELESS = re.compile(rf"\b({'|'.join(CURES)})\b")
#: Kubernetes tries again all the time: a Secret that is made at the same time as the run may still come.
GRACE_S = 30.0
OUT_OF_MEMORY = re.compile(r"\bOOMKilled\b")


class HopelessWaits:
    """Notices when a step's pod has waited for one of those reasons for longer than GRACE_S."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def longest(self, progress: Mapping[str, StepProgress], now: float) -> str:
        """The step that waits for good; "" for none.

        Args:
            progress: of the run.
            now: seconds of a clock that only goes forward.
        """
        self._since = {step: self._since.get(step, now) for step, state in progress.items() if HOPELESS.search(state.waits)}
        return next((step for step, since in self._since.items() if now - since > GRACE_S), "")


def cure_of_wait(reason: str) -> str:
    """What a person can do about a reason that is hopeless."""
    match = HOPELESS.search(reason)
    return CURES[match[1]] if match else CURES["CreateContainerError"]


def in_the_clusters_words(text: str, namespace: str) -> str:
    """An error of a step's, in which its variables are called by where they come from in the cluster: a person has set no such variable."""
    secret, config = f"Secret {STORE_SECRET} in namespace {namespace}", f"ConfigMap {STORE_CONFIG} in namespace {namespace}"
    text = text.replace("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", f"accesskey and secretkey of {secret}")
    for variable, place in (
        ("AWS_ACCESS_KEY_ID", f"accesskey of {secret}"),
        ("AWS_SECRET_ACCESS_KEY", f"secretkey of {secret}"),
        ("AWS_ENDPOINT_URL and AWS_REGION", f"endpoint and region of {config}"),
        ("AWS_ENDPOINT_URL", f"endpoint of {config}"),
        ("AWS_REGION", f"region of {config}"),
    ):
        text = text.replace(variable, place)
    return text


def twice(memory: str) -> str:
    """Twice as much memory, as Kubernetes writes it."""
    return f"{2 * int(memory[:-2])}{memory[-2:]}"
