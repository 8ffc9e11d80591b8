"""What a running step tells the person who waits: plain lines in its log, which the command line turns into a progress bar.

On a cluster the same lines read as they are in the pod's log.
"""

FRACTION = "progress"
FIGURES = "figures"


def progress(fraction: float, text: str = "") -> None:
    """Say how much of the step is done: `fraction` in [0, 1]."""
    print(f"[driftloop {FRACTION}] {fraction:.3f} {text}".rstrip(), flush=True)


def figures(text: str) -> None:
    """Say the figures that matter at the end of a step, in one short line."""
    print(f"[driftloop {FIGURES}] {text}", flush=True)
