"""driftloop: an image-classifier lifecycle on Kubeflow Pipelines that closes the loop."""

import os
from importlib.metadata import version

__version__ = version("driftloop")

# Read by libgomp when torch is loaded: how often a thread that waits for another looks again before it sleeps. By default it is 300,000
# times, which on a machine that others use too takes the core from the very thread that is waited for (bench/busy_training.py).
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
