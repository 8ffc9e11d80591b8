"""driftloop: an image-classifier lifecycle on Kubeflow Pipelines that closes the loop."""

from importlib.metadata import version

__version__ = version("driftloop")
