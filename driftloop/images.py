"""The two container images, named by the release: components carry these names, `submit` pins them by content."""

from driftloop import __version__

#: torch, CUDA libraries, onnx: the steps that read images in bulk, train and export.
TRAIN_IMAGE = f"driftloop-train:{__version__}"
#: no torch: source resolution, replay, monitoring, drift, gate, promotion, report.
WATCH_IMAGE = f"driftloop-watch:{__version__}"
