"""Names and limits that two parts of driftloop share: each stands here once and is imported from here.

Components may not know each other, so what one writes and another reads can be agreed upon nowhere else. The files of a model
bundle are named by `driftloop.bundle`, the keys of a store by the module that owns them (`registry`, `watch_record`, `inference.log`).
"""

from typing import Final, Literal, get_args

#: The steps, by the names of their components: under these their facts stand in `facts.json`.
SOURCE_RESOLUTION, DATA_ANALYSIS = "source_resolution", "data_analysis"
BASELINE_TRAINING, MODEL_OPTIMIZATION, ONNX_DEPLOYMENT = "baseline_training", "model_optimization", "onnx_deployment"
TRIAL_SEARCH = "trial_search"
TRAFFIC_REPLAY, PRODUCTION_MONITORING, DRIFT_DETECTION = "traffic_replay", "production_monitoring", "drift_detection"
AUTOMATED_RETRAINING, VALIDATION_GATE, MODEL_PROMOTION = "automated_retraining", "validation_gate", "model_promotion"
SYNTHESIS_REPORT = "synthesis_report"
INGEST_PLAN, INGEST_SHARD = "ingest_plan", "ingest_shard"

#: Splits of a dataset. `test` is for the gate and touched by nothing else; `stream` is what a replay plays.
TRAIN, VAL, TEST, REFERENCE, STREAM = SPLITS = ("train", "val", "test", "reference", "stream")
#: Splits that a retraining adds: drifted images to learn from, to stop by, and to be judged on.
DRIFTED_TRAIN, DRIFTED_VAL, DRIFTED_GATE = DRIFTED_SPLITS = ("drifted_train", "drifted_val", "drifted_gate")
#: What a retraining that the calendar asked for is judged on beside the test split: images in which no harm was there to be won back.
RECENT_GATE = "recent_gate"
#: A split whose images stand for an accepted drift: regime-1, regime-2, ...
REGIME_PREFIX = "regime-"

#: A regime is a kind of traffic that a champion was accepted for: the clean hold-out, and at most four drifts learned since:
#: the seasons of a year.
MOST_REGIMES = 5
MOST_LEARNED_REGIMES = MOST_REGIMES - 1

#: Files that one step writes and another reads, or that a run delivers under these names.
FACTS = "facts.json"
#: Beside it: the processor time and memory that each step used.
USED = "used.json"
CHAPTERS = "chapters.json"
BENCHMARK = "benchmark.json"
BASELINE_METRICS = "baseline_metrics.pt"
PRODUCTION_LOGS = "production_logs.csv"
DRIFT_REPORT = "drift_report.json"
LABEL_REQUESTS, LABELLING_SHEET = "label_requests.csv", "labelling_sheet.html"
#: Which request lies in which window of the test: what a retraining learns from.
WINDOW_ROWS = "windows.parquet"
GATE_EVIDENCE, GATE_PAGE = "gate.json", "gate.html"
SUMMARY = "summary.json"

#: The rule of production_monitoring that says of a watch that the one before was not finished.
UNFINISHED_WATCH = "unfinished watch"

#: What the gate decides about a candidate.
PROMOTE, REJECT, INCONCLUSIVE = "promote", "reject", "inconclusive"
#: Names of the gate's main criteria.
CLEAN_TEST, DRIFTED_HOLD_OUT, RECENT_HOLD_OUT = "clean test", "drifted hold-out", "recent hold-out"

#: Languages that reports are written in, by their codes; steps write their chapters in the first.
LANGUAGES = ENGLISH, FRENCH = ("en", "fr")

#: Image formats that are read, by Pillow's name, and the suffixes that their files carry. Training, serving and late labels take the same.
IMAGE_FORMATS = {
    "JPEG": (".jpeg", ".jpg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
IMAGE_SUFFIXES = tuple(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)
#: Of images that are not read: whoever has some of these in a source is told so.
UNREAD_SUFFIXES = (
    *(".avif", ".dcm", ".dicom", ".dng", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jxl"),
    *(".nef", ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".svg", ".svgz", ".tga"),
)
#: Before the name of a network of the package timm, in that of an architecture.
TIMM = "timm:"
#: Where a store keeps what was read of a source by parts, and the lists of files by which that was done.
BLOCKS, BLOCK_PLANS = "blocks/", "blocks/plans/"
#: How a picture that is no square becomes one: pressed to it; its middle cut out; bars of black beside it.
RESIZE_MODES = STRETCH, CROP, PAD = "stretch", "crop", "pad"

#: The label of an image that shows none of the model's classes: an unseen class in a drift, or what a synthetic source can draw of one.
UNSEEN = -1

#: Where a label comes from: a uniformly random list, one that was drawn at random among the requests predicted as a rare class, a ranked
#: one, or a user's own import. Only random ones may judge harm; those drawn by class tell, beside them, how often that class is recognised.
RANDOM, BY_CLASS, RANKED, IMPORT = LABEL_ORIGINS = ("random", "by_class", "ranked", "import")
#: Those that count as such only for requests that a list has drawn.
DRAWN = (RANDOM, BY_CLASS)

#: What a labeller writes where an image cannot be labelled (the first is stored), and the origin of its row then: it was looked at, and
#: will not be asked for again.
SKIP = "?"
SKIP_MARKS = (SKIP, "skip")
SKIPPED = "skipped"

#: Why a label is asked for: a little of every window, to see whether a drift matters, for a retraining and its gate, to see a rare class,
#: or to train on only.
QUOTA: Final = "quota"
HARM: Final = "harm"
GATE: Final = "gate"
FOR_CLASS: Final = "class"
FOR_TRAINING: Final = "ranked"

#: Drift is confirmed when so many of so many consecutive windows have alarmed.
CONFIRMING_ALARMS, CONFIRMING_WINDOWS = 2, 3
CONFIRMED_BY = f"{CONFIRMING_ALARMS} of {CONFIRMING_WINDOWS}"
#: So many of the latest windows are tested together as well: a weak drift shows in many images. Of two that is no more than 2 of 3.
POOLED_WINDOWS = (4, 8)

#: Distinct groups (patients, lots, or single images) below which a window, a reference or a test split shows nothing.
LEAST_GROUPS = 8
#: So many windows' worth of groups stand for what is accepted, or nothing does: beside fewer hardly any drift shows, and the level depends
#: on their luck.
REGIME_WINDOWS = 4

#: What a watch may say; what each asks for grows. The pipeline branches by the last.
VerdictName = Literal["stable", "alert", "needs_labels", "retrain"]
VERDICTS: tuple[VerdictName, ...] = get_args(VerdictName)
RETRAIN = "retrain"

#: What became of a watch: nothing was retrained, the champion was kept against a candidate, or the candidate was promoted.
WATCHED, KEPT, PROMOTED = OUTCOMES = ("watched", "kept", "promoted")

#: What the default run sets out to reach: `summary.json` holds the targets against what was measured.
BASELINE_TARGET, OPTIMIZED_TARGET = 0.70, 0.80
INT8_DROP_TARGET = 0.01
RECOVERED_TARGET = 0.5
CLEAN_LOSS_TARGET = 0.02

#: Shared memory of a training step, in GiB, wherever it runs in a container: PyTorch's workers hand batches over in /dev/shm.
SHARED_MEMORY_GIB = 1

#: The name under which servers offer the model, driftloop's own and those that it exports to: a client changes nothing but the address.
MODEL_NAME = "champion"

#: Ports of `make up` on the loopback address. docker/ and the Makefile cannot import them: tests/unit/test_ports.py compares.
MINIO_PORT, MINIO_CONSOLE_PORT, TENSORBOARD_PORT = 9000, 9001, 6006
#: Of `driftloop serve`, and of its container on this machine, where 8080 may be the UI of a kind cluster.
SERVICE_PORT, PUBLISHED_SERVICE_PORT = 8080, 8088
