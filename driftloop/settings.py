"""Every parameter and every setting, declared once: name, type, default, range and one line of description.

A *parameter* is what people turn between runs: a typed input of the pipelines, declared in `PARAMETERS`. The signatures and the
descriptions of the pipelines (KFP's form shows no text beside a field), `--help`, the checks before a run and those inside a step all
derive from there; the stages of the pipelines take their parameters as the bundles at the end of this file. Everything else is a
*setting*, declared as a field of one of the groups, and reached through one `<group>_config` parameter of overrides per group, which
`complete` checks and fills in. CONTRIBUTING.md says what to touch to add one.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from driftloop.contracts import ENGLISH, LANGUAGES, REFERENCE, STREAM, TEST, TRAIN, VAL
from driftloop.errors import SettingError
from driftloop.spelling import composed


class Settings(BaseModel):
    """A group of settings; frozen, and closed to names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    group: ClassVar[str]
    """Its name: the parameter `<group>_config` holds its overrides."""
    purpose: ClassVar[str]
    """What its settings are about, as the pipelines' descriptions say it."""

    @classmethod
    def complete(cls, overrides: dict[str, Any] | None = None) -> Self:
        """The group with `overrides` applied to its defaults.

        KFP's local runners hand integers over as floats (3.0), which are taken as the integers they are.

        Raises:
            SettingError: an unknown name, or a value of the wrong type or out of range; one line, with the cure.
        """
        try:
            return cls(**(overrides or {}))
        except ValidationError as invalid:
            problem = invalid.errors()[0]
            name = ".".join(str(part) for part in problem["loc"])
            raise SettingError(cls._explain(name, problem)) from None

    @classmethod
    def _explain(cls, name: str, problem: Any) -> str:
        key = f"{cls.group}_config.{name}"
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, cls.model_fields, n=1, cutoff=0.5)
            hint = f"did you mean {cls.group}_config.{near[0]}?" if near else f"known: {', '.join(cls.model_fields)}"
            return f"{key}: no such setting ({hint})"
        description = cls.model_fields[name].description if name in cls.model_fields else ""
        message = problem["msg"].removeprefix("Input").removeprefix("Value error,").strip()
        return f"{key}: {problem['input']!r} {message} ({description})"


#: What a pipeline that replays traffic keeps for it.
STREAM_SHARE = 0.15


class DataSettings(Settings):
    """Theme 1: reading, splitting and packing a source of labelled images."""

    group: ClassVar[str] = "data"
    purpose: ClassVar[str] = "reading, splitting and packing images"

    train_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of the groups used for training, where the source has no such split; none: what the others leave",
    )
    val_share: float = Field(0.10, gt=0, le=1, description="share for model choice and calibration")
    test_share: float = Field(0.15, gt=0, le=1, description="share for the gate, touched by nothing else")
    reference_share: float = Field(0.10, ge=0, le=1, description="share held out as the drift reference")
    stream_share: float | None = Field(
        None, ge=0, le=1, description="share kept for traffic replay; none: 0.15 where the pipeline replays traffic, else 0"
    )
    smallest_val: int = Field(100, ge=0, le=1_000_000, description="a source's own val split with fewer images is merged into train")
    max_broken_share: float = Field(0.05, ge=0, le=1, description="stop when more than this share of the image files is broken")
    group_pattern: str = Field(
        "",
        description="regular expression on the file name whose first group (or the one named group) is the patient or site, and whose "
        "other named groups are tags; empty: patterns of the known layouts",
    )
    classes: str = Field(
        "",
        max_length=2000,
        description="classes that file names tell, separated by commas, such as NORMAL,BACTERIA,VIRUS; a name without one counts by its "
        "folder; empty: the folders",
    )
    resize: Literal["stretch", "crop", "pad"] = Field(
        "stretch", description="how images that are no square become one: pressed to it, their middle cut out, or bars of black beside them"
    )
    labels_checked: int = Field(
        2_000, ge=0, le=1_000_000, description="training images whose labels are compared with what a model says that never saw them"
    )
    workers: int = Field(0, ge=0, le=64, description="decoding processes; 0 takes one per core, at most 8")
    shard_files: int = Field(
        51_200,
        ge=1,
        le=10_000_000,
        description="files that one task of the pipeline ingest reads; more where they would be over 200 tasks",
    )

    @field_validator("group_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"is not a valid regular expression: {error}") from None
        if pattern and not groups:
            raise ValueError("needs a group in parentheses around the patient, as in '(person\\d+)_'")
        return pattern

    @property
    def naming(self) -> dict[str, str]:
        """Those that tell classes and groups by the names of files, without those that are empty."""
        return {name: value for name in ("classes", "group_pattern") if (value := getattr(self, name))}

    def shares(self, *, replayed: bool) -> dict[str, float]:
        """By split, for a pipeline that replays traffic or one that does not; the others stay where they are, whichever it is.

        Raises:
            SettingError: the others leave nothing to train on.
        """
        stream = (STREAM_SHARE if replayed else 0.0) if self.stream_share is None else self.stream_share
        others = {VAL: self.val_share, TEST: self.test_share, REFERENCE: self.reference_share}
        taken = round(sum(others.values()) + stream, 9)
        if self.train_share is None and taken >= 1:
            raise SettingError(
                f"data_config: the shares of {', '.join(others)} and {STREAM} are {taken:g} together and leave nothing to train on; "
                "lower one, or set data_config.train_share (shares are divided by their sum)"
            )
        # The stream stands beside train, out of which it is taken: so the hash puts everybody else where it would without a stream.
        return {TRAIN: self.train_share or 1 - taken, STREAM: stream, **others}


class TrainSettings(Settings):
    """Themes 2 and 3: baseline and optimised training; the number of epochs is a parameter of the pipelines."""

    group: ClassVar[str] = "train"
    purpose: ClassVar[str] = "baseline and optimised training"

    architecture: str = Field(
        "auto",
        pattern=r"^(auto|plain_cnn|residual|timm:[A-Za-z0-9_.]+)$",
        description="network of the optimised training: plain_cnn, residual, timm:<name>, or auto: a pretrained backbone for photographs "
        "larger than 48 pixels, and with epsilon for all images, where weights are to be had, else residual",
    )
    weights: str = Field(
        "auto",
        min_length=1,
        description="what a timm network starts from: a file, s3://..., package (an installed one), none; auto: package where it fits",
    )
    trained_layers: Literal["auto", "all", "head"] = Field(
        "auto",
        description="what of a pretrained network learns; head: its head alone, by logistic regression, which takes one pass over the "
        "images, or with epsilon by steps with noise; auto: all, but head with epsilon, and where auto chose the network and all would "
        "take a CPU longer than auto_hours",
    )
    auto_hours: float = Field(1.0, gt=0, le=1000, description="hours on a CPU that architecture=auto lets a pretrained network train")
    layer_decay: float = Field(
        0, ge=0, le=1, description="factor on the rate of each layer against the one above; 0 takes 0.9 for pretrained weights, else 1"
    )
    clip: float = Field(5.0, ge=0, le=1000, description="largest norm of an optimised training's gradients; 0 for no limit")
    batch_size: int = Field(64, ge=2, le=8192, description="images per optimiser step")
    min_steps: int = Field(10, ge=1, le=100_000, description="steps per epoch at least; a tiny dataset is gone through several times")
    class_weights: bool = Field(
        True, description="let every class count alike, in the loss and in what is named, however many images it has"
    )
    baseline_share: float = Field(1 / 3, gt=0, le=1, description="share of train_epochs that the baseline trains, at least one")
    baseline_learning_rate: float = Field(1e-3, gt=0, le=1, description="the baseline's constant learning rate (Adam)")
    patience: int = Field(
        5,
        ge=1,
        le=1000,
        description="epochs in a row with all validation images right after which a training ends; at a constant rate, also: "
        "epochs without a better one",
    )
    learning_rate: float = Field(0, ge=0, le=1, description="highest learning rate of the optimised training; 0 takes the range test's")
    weight_decay: float = Field(0.05, ge=0, le=1, description="decoupled weight decay of the optimised training (AdamW)")
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="share of each target that is spread over all classes")
    mixup: float = Field(0, ge=0, le=10, description="strength of mixup (alpha of its Beta distribution); 0 for none")
    cutmix: float = Field(
        0,
        ge=0,
        le=10,
        description="strength of CutMix (alpha of its Beta distribution, such as 1), of half the images where mixup is on, too; 0 for none",
    )
    weight_average: float = Field(0, ge=0, lt=1, description="decay of a moving average of the weights, such as 0.98; 0 for none")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="number type of the optimised training; auto takes the fastest that the hardware has"
    )
    domain: Literal["auto", "xray", "aerial", "digits", "natural"] = Field(
        "auto", description="kind of images, which sets the augmentation below: x-rays and digits are not mirrored; auto goes by the names"
    )
    rotation: float | None = Field(None, ge=0, le=180, description="augmentation: largest rotation in degrees; none: 10, aerial 180")
    scale: float | None = Field(None, ge=0, le=0.5, description="augmentation: largest change of size, as a share; none: 0.12")
    shift: float | None = Field(None, ge=0, le=0.5, description="augmentation: largest shift, as a share of the side; none: 0.05")
    brightness: float | None = Field(None, ge=0, le=1, description="augmentation: largest change of brightness, as a share; none: 0.05")
    contrast: float | None = Field(None, ge=0, lt=1, description="augmentation: largest change of contrast, as a share; none: 0.2")
    flip: bool | None = Field(None, description="augmentation: mirror left and right; none: natural and aerial only")
    vertical_flip: bool | None = Field(None, description="augmentation: mirror top and bottom; none: aerial only")
    crop: float | None = Field(
        None,
        ge=0,
        le=0.95,
        description="augmentation: largest share of the area that a random crop leaves out, the rest being enlarged; none: 0",
    )
    randaugment: int | None = Field(
        None, ge=0, le=30, description="augmentation: magnitude of RandAugment, two operations an image, such as 9; 0: without; none: 0"
    )
    ablation_epochs: int = Field(10, ge=0, le=1000, description="epochs of each run of the ablation; 0 for no ablation")
    ablation_seconds: float = Field(40, ge=0, le=86_400, description="time for the ablation; runs that would not fit are left out")
    sweep_trials: int = Field(0, ge=0, le=10_000, description="trials of the Optuna search before the training; 0 for none")
    sweep_epochs: int = Field(8, ge=1, le=1000, description="epochs of each trial")
    sweep_processes: int = Field(1, ge=1, le=64, description="processes that try side by side, each with its share of the cores")
    sweep_tasks: int = Field(
        0, ge=0, le=64, description="tasks of the pipeline, on a cluster pods, that search before theme 3 does; 0: theme 3 alone"
    )
    max_latency_ms: float = Field(
        0,
        ge=0,
        le=60_000,
        description="milliseconds of processor time that the optimised network may take for an image (float32, one thread); a search then "
        "varies its width, too; 0 for no limit",
    )
    nodes: int = Field(
        1, ge=1, le=64, description="machines that share the optimised training, by a TrainJob of Kubeflow Trainer; clusters only"
    )
    queue: str = Field(
        "", max_length=63, pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", description="Kueue's queue for that TrainJob; empty: no queue"
    )
    epsilon: float | None = Field(
        None,
        gt=0,
        le=100,
        description="train the optimised model with differential privacy: loss of privacy of a training image at most, such as 8 or 1 "
        "(stronger), at a delta below 1 / images; none: without",
    )
    private_batch_size: int = Field(
        256, ge=2, le=8192, description="with epsilon: images that an optimiser step takes on average, in place of batch_size"
    )
    image_clip: float = Field(
        1.0, gt=0, le=1000, description="with epsilon: largest norm of one image's gradient, which the noise is in proportion to"
    )
    checkpoints: str = Field(
        "",
        description="directory that outlives the process, where a killed training is resumed from; empty: beside the dataset in the store",
    )

    @property
    def searchers(self) -> list[int]:
        """The numbers of the pipeline's tasks that search, from 0; none where there is nothing to search, or theme 3 does it alone."""
        return list(range(self.sweep_tasks if self.sweep_trials else 0))


class DeploySettings(Settings):
    """Theme 4: export, quantisation and benchmark."""

    group: ClassVar[str] = "deploy"
    purpose: ClassVar[str] = "export, quantisation, benchmark"

    calibration: Literal["auto", "minmax", "percentile", "entropy"] = Field(
        "auto", description="how INT8 ranges are set; auto takes minmax or percentile, whichever stays closer to FP32"
    )
    calibration_images: int = Field(256, ge=16, le=10_000, description="training images that set INT8 ranges; as many others compare them")
    serve_on: Literal["cpu", "cuda"] = Field(
        "cpu", description="what the model will be served on: the fastest of its admissible graphs there is taken; cuda adds an FP16 one"
    )
    int8_max_drop: float = Field(
        0.01, gt=0, le=0.5, description="an INT8 or FP16 graph is admissible when its accuracy loss lies below this, at its 95 % bound"
    )
    benchmark_seconds: float = Field(5.0, ge=0.1, le=600, description="time spent on timing PyTorch and the ONNX graphs")
    seed: int = Field(0, ge=0, description="of the draw of calibration images")


class TrafficSettings(Settings):
    """Traffic replay: the demo's and the rehearsal's production."""

    group: ClassVar[str] = "traffic"
    purpose: ClassVar[str] = "replayed traffic"

    clean_windows: int = Field(2, ge=0, le=1000, description="windows of clean traffic before the drift sets in")
    drifted_windows: int = Field(8, ge=0, le=1000, description="windows of drifted traffic after them")
    window_size: int = Field(200, ge=10, le=100_000, description="requests per window; the stream split may hold fewer")
    labels: int = Field(660, ge=0, le=1_000_000, description="labels that arrive for uniformly drawn drifted requests")
    max_label_share: float = Field(0.45, ge=0, le=1, description="at most this share of the drifted requests is labelled")
    image_share: float = Field(1.0, ge=0, le=1, description="share of the requests whose image is kept in the log")
    batch_size: int = Field(1, ge=1, le=1024, description="requests answered together; their latency is that of the batch")


class MonitorSettings(Settings):
    """Theme 5: service and model metrics over the inference log."""

    group: ClassVar[str] = "monitor"
    purpose: ClassVar[str] = "production monitoring"

    max_rows: int = Field(100_000, ge=100, le=10_000_000, description="requests a watch looks at; of more it takes a uniform sample")
    late_hours: float = Field(6, ge=1, le=24 * 366, description="so many hours after the one in its name a log file may still appear")
    look_back_days: float = Field(30, ge=0, le=3650, description="how far back windows of an open drift are taken along, and labels")
    context_rows: int = Field(5_000, ge=0, le=1_000_000, description="rows of earlier windows taken along at most, the newest ones")
    alert_latency_ratio: float = Field(3.0, gt=1, le=1000, description="alert when the p95 latency exceeds the benchmark's by this factor")
    alert_error_share: float = Field(0.02, ge=0, le=1, description="alert when more than this share of the requests failed")
    alert_class_share: float = Field(0.15, gt=0, le=1, description="alert when a class's share moved by more than this from the reference")
    alert_confidence_drop: float = Field(0.05, gt=0, le=1, description="alert when the mean confidence fell by more than this")


class DriftSettings(Settings):
    """Theme 6: detectors, verdict and policy."""

    group: ClassVar[str] = "drift"
    purpose: ClassVar[str] = "drift detection and retraining policy"

    window_size: int = Field(200, ge=20, le=100_000, description="images tested together, one a group; at most a quarter of the reference")
    minimum_window: int = Field(50, ge=2, le=100_000, description="distinct groups (patients) below which rows wait for the next watch")
    wait_days: float = Field(
        7.0, ge=0, le=365, description="days that rows wait for a full window, until a smaller one of minimum_window is tested; 0: none"
    )
    max_windows: int = Field(200, ge=1, le=10_000, description="windows tested in a watch; of a larger backlog the newest are taken")
    windows_per_90_days: float = Field(90.0, gt=0, description="expected windows per 90 days; the log's own rate where that is larger")
    false_alarms_per_90_days: float = Field(1.0, gt=0, le=1000, description="budget: expected false confirmed alarms per 90 days")
    permutations: int = Field(999, ge=99, le=1_000_000, description="least permutations of the MMD test; 40 / alpha where that is more")
    harm_labels: int = Field(100, ge=10, le=1_000_000, description="random labels before harm is judged")
    retry_labels: int = Field(100, ge=10, le=1_000_000, description="new random labels after a refused candidate before another try")
    harm_half_life_days: float = Field(7.0, gt=0, le=3650, description="labels of windows so many days older weigh half as much for harm")
    gate_power: float = Field(
        0.8,
        ge=0,
        lt=1,
        description="retrain only with so many labels that the gate recognises a good candidate with this power; 0: at once",
    )
    retrain_drop: float = Field(0.03, ge=0, le=1, description="estimated accuracy drop from which drift is worth a retraining")
    harmless_drop: float = Field(0.05, gt=0, le=1, description="drift is harmless when the upper bound of the drop lies below this")
    class_drop: float = Field(
        0.2, gt=0, le=1, description="loss of a class's recall that must be excluded before a drift is harmless for a critical class"
    )
    accept_harmless_after: int = Field(
        0, ge=0, le=1_000_000, description="windows of a drift after which it is accepted by itself where labels show it harmless; 0: never"
    )
    label_free_drop: float = Field(
        0.10, gt=0, le=1, description="label-free estimated drop, against the accepted regimes, from which a single alarm asks for labels"
    )
    cooldown_days: float = Field(1.0, ge=0, le=365, description="days without retraining after any decision of the gate")
    retrainings_per_30_days: int = Field(4, ge=0, le=1000, description="retrainings allowed in 30 days")
    suggest_only: bool = Field(False, description="never retrain for a drift by itself: alert and suggest it")
    retrain_on: Literal["harm", "alarm"] = Field(
        "harm", description="what a confirmed drift is retrained for: harm that labels show; alarm: every one, whether it matters or not"
    )
    retrain_every_days: float = Field(
        # Records of long ago are left out of the history (`watch_store.HISTORY_KEPT`): a longer calendar would never be due.
        0,
        ge=0,
        le=365,
        description="days after the last retraining from which the calendar asks for one, drift or not; 0: it never does",
    )
    quota_requests: int = Field(20, ge=0, le=100_000, description="images asked for at random in every window, drifted or not")
    quota_per_day: int = Field(
        100, ge=0, le=1_000_000, description="these in a day at most, where there are many windows; one a window at least"
    )
    random_requests: int = Field(660, ge=0, le=1_000_000, description="images asked for at random in the windows of a confirmed drift")
    class_requests: int = Field(
        60, ge=0, le=100_000, description="more images asked for among those predicted as critical classes, or else as rare ones"
    )
    ranked_requests: int = Field(100, ge=0, le=1_000_000, description="images asked for in the list of the most shifted, for training only")
    teaching: bool = Field(False, description="show the course's fixed-threshold detector in the report; it decides nothing")
    gallery_size: int = Field(8, ge=0, le=100, description="most shifted images shown in the report")
    seed: int = Field(0, ge=0, description="of permutations, reference draws and label lists")


class RetrainSettings(Settings):
    """Theme 7: the mix of old and new images and the fine-tuning from the champion."""

    group: ClassVar[str] = "retrain"
    purpose: ClassVar[str] = "retraining"

    train_parts: float = Field(300, gt=0, description="part of the drifted labels that trains, beside val_parts and gate_parts")
    val_parts: float = Field(60, gt=0, description="part of the drifted labels that stops the training")
    gate_parts: float = Field(300, gt=0, description="part of the drifted labels that is kept for the gate")
    regime_share: float = Field(
        0.8, gt=0, lt=1, description="share of the groups whose rows without a random label stand for what is accepted and never train"
    )
    needed_labels: int = Field(90, ge=30, le=1_000_000, description="labelled images of the confirmed drift that a retraining needs")
    image_mib: int = Field(
        256, ge=1, le=65_536, description="drifted images taken at most, in MiB; the labelled ones first, 1,000 of them in any case"
    )
    drifted_share: float = Field(0.10, gt=0, lt=1, description="share of drifted images in each batch; the others are old ones")
    restyle_share: float = Field(0.8, ge=0, le=1, description="share of the old images that get the look of the drifted ones; 0: none")
    epochs: int = Field(16, ge=1, le=1000, description="passes over the old training images at most")
    patience: int = Field(
        12, ge=1, le=1000, description="epochs without a better validation after which fine-tuning stops; one cycle is best at its end"
    )
    learning_rate: float = Field(
        0, ge=0, le=0.1, description="highest rate of fine-tuning; 0 takes half of what the champion was trained with, at most 0.002"
    )
    weight_decay: float = Field(0.05, ge=0, le=1, description="of AdamW")
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="share of the target spread over all classes")
    keep_balance: bool = Field(True, description="give clean images each class as often as the champion does; else what training led to")
    weight_average: float = Field(0.98, ge=0, lt=1, description="decay of a moving average of the weights; 0 for none")
    batch_size: int = Field(64, ge=2, le=4096, description="images per batch, old and drifted ones together")
    augment: bool = Field(True, description="random views of the training images")
    mixed_precision: bool = Field(True, description="compute in 16 bits where the hardware is faster at it")

    @property
    def gate_share(self) -> float:
        """Of all random labels, those that are kept for the gate."""
        return self.gate_parts / (self.train_parts + self.val_parts + self.gate_parts)


class GateSettings(Settings):
    """Theme 7: what a candidate must show before it is promoted; the margin on clean accuracy is a parameter of the pipelines."""

    group: ClassVar[str] = "gate"
    purpose: ClassVar[str] = "validation gate"

    class_margin: float = Field(0.05, gt=0, le=0.5, description="how much of a class's accuracy may be lost at most, as a share")
    floor: float = Field(0.05, gt=0, le=0.5, description="no promotion by traffic where a kind of images is shown to lose more")
    slice_minimum: int = Field(20, ge=5, le=100_000, description="slices with fewer test images are not looked at")
    drifted_gain: float = Field(0.02, ge=0, le=0.5, description="reject when the gain on drifted images lies below this even at best")
    brier_limit: float = Field(0.01, gt=0, le=1, description="the Brier score on clean images must rise by less than this")
    first_gain: float = Field(
        0.1, ge=0, le=0.5, description="reject a first model that mends, even at best, less than this share of the commonest class's errors"
    )
    allow_blind_classes: str = Field(
        "",
        description="classes that a first model need not recognise, separated by commas: it is rejected for any other that it never names",
    )
    latency_limit: float = Field(1.5, gt=0, le=100, description="largest ratio of p95 latencies, candidate over champion")
    latency_slack_ms: float = Field(2.0, ge=0, le=10_000, description="an increase of the p95 latency up to this is tolerated at any ratio")
    latency_rounds: int = Field(200, ge=20, le=10_000, description="single-image requests timed with each model, in turns")
    size_limit: float = Field(2.0, gt=0, le=100, description="largest ratio of the served files' sizes, candidate over champion")
    size_slack_mb: float = Field(10.0, ge=0, le=10_000, description="an increase of the served file up to this is tolerated at any ratio")
    uses_warning: int = Field(5, ge=1, le=1000, description="warn from this use of the same test split on")
    uses_limit: int = Field(10, ge=2, le=1000, description="from this use of the same test split on, nothing is promoted automatically")


GROUPS: dict[str, type[Settings]] = {
    model.group: model
    for model in (
        DataSettings,
        TrainSettings,
        DeploySettings,
        TrafficSettings,
        MonitorSettings,
        DriftSettings,
        RetrainSettings,
        GateSettings,
    )
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of the pipelines."""

    default: Any
    """Its type is the parameter's; a text with a range is a whole number that KFP takes as text."""
    description: str
    """What it is for, in one line."""
    low: float | None = None
    """Least value; None: any."""
    high: float | None = None
    """Largest value; None: any."""
    choices: tuple[str, ...] = ()
    """The values that there are; empty: any."""


#: In the order in which people see them.
PARAMETERS: dict[str, Parameter] = {
    "data_source": Parameter(
        "synthetic:xray",
        "images to learn from: a folder, zip or tar of <class>/ or <split>/<class>/, s3://..., kaggle:owner/name, digits, "
        "elpv[:mono|:poly], synthetic:xray|roof",
    ),
    # The plain network halves its images five times, so 32 is the least that it can look at.
    "data_image_size": Parameter(64, "side in pixels that images are resized to", 32, 512),
    "train_epochs": Parameter(30, "epochs of the optimised training; the baseline takes a share of them", 1, 1000),
    "traffic_drift": Parameter(
        "blur+noise:1.0", "drift of the replayed traffic: none, or <kind>[+<kind>]:<severity 0-1>, such as blur+noise:0.6"
    ),
    "until": Parameter("", "the watch judges the traffic up to this UTC time (ISO 8601); empty: now"),
    "drift_alpha": Parameter(0.05, "false-alarm rate of a window's drift test", 1e-4, 0.2),
    "gate_margin": Parameter(0.02, "non-inferiority margin: the loss of clean accuracy that the gate accepts", 0.001, 0.2),
    "critical_classes": Parameter(
        "",
        "classes that must not be lost unseen, separated by commas: unknown is not good enough for them, under a drift and at the gate",
    ),
    "seed": Parameter(1, "seed of everything random", 0, 2**31 - 1),
    "store": Parameter("s3://driftloop/demo", "the model's home: s3://bucket/prefix or a folder"),
    "lang": Parameter(ENGLISH, "language of the report: en or fr", choices=LANGUAGES),
    "gpus": Parameter("1", "GPUs that a training step has and shares its batches among; 0 for the CPU", 0, 16),
    "train_nodes": Parameter(
        {}, 'labels of the nodes that training steps run on, as JSON, such as {"nvidia.com/gpu.product": "NVIDIA-L4"}'
    ),
} | {f"{name}_config": Parameter({}, f"settings of {group.purpose}, as JSON") for name, group in GROUPS.items()}


def describe(what: str, names: Iterable[str]) -> str:
    """A pipeline's description: what it does, then each of its parameters."""
    return "\n".join([what, "", "Parameters:", *(f"- {name}: {PARAMETERS[name].description}" for name in names)])


def check(name: str, value: Any, known: Collection[str]) -> Any:
    """The value of parameter `name` in its type, checked, after checking that it is among the `known` names.

    Raises:
        SettingError: an unknown name, a value of the wrong type, or one out of range; the message says how to mend it.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        raise SettingError(f"{name}: no such parameter ({f'did you mean {near[0]}?' if near else 'known: ' + ', '.join(known)})")
    return check_parameter(name, value)


def check_parameter(name: str, value: Any) -> Any:
    """The value of parameter `name` in its type, checked: before a run, and again in the step that uses it.

    Raises:
        SettingError: a value of the wrong type, or one out of range; the message says how to mend it.
    """
    parameter = PARAMETERS[name]
    if name == "train_nodes":
        return _check_labels(name, value)
    if isinstance(parameter.default, dict):
        if not isinstance(value, dict):
            raise SettingError(f"{name}: {value!r} is not a group of settings; give {name}.<setting>=<value>")
        GROUPS[name.removesuffix("_config")].complete(value)
        return value
    converted = _convert(name, value, parameter)
    if parameter.choices and converted not in parameter.choices:
        raise SettingError(f"{name}: {value!r} is not one of {', '.join(parameter.choices)} ({parameter.description})")
    if parameter.low is not None and parameter.high is not None and not parameter.low <= float(converted) <= parameter.high:
        raise SettingError(f"{name}: {value} is outside {parameter.low}..{parameter.high} ({parameter.description})")
    return converted


def listed_classes(text: str, classes: Collection[str]) -> list[str]:
    """The names in a list that commas part, as `classes` spells them; one that has commas itself is taken as a whole."""
    known = {composed(name): name for name in classes}
    parts, most = text.split(","), 1 + max((name.count(",") for name in classes), default=0)
    names = []
    while parts:
        taken = next((count for count in range(most, 1, -1) if composed(",".join(parts[:count]).strip()) in known), 1)
        names.append(",".join(parts[:taken]).strip())
        parts = parts[taken:]
    return [known.get(composed(name), name) for name in names if name]


def critical_names(critical_classes: str, classes: Collection[str]) -> list[str]:
    """The critical classes by name, in the order of the model's `classes`.

    Raises:
        SettingError: a name that is no class.
    """
    named = listed_classes(critical_classes, classes)
    for name in named:
        if name not in classes:
            near = difflib.get_close_matches(name, classes, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(classes)}"
            raise SettingError(f"critical_classes: {name!r} is no class of this model ({hint})")
    return [name for name in classes if name in named]


#: What Kubernetes takes as a label.
_LABEL_KEY = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


def _check_labels(name: str, value: Any) -> dict[str, str]:
    """Labels of Kubernetes."""
    if not isinstance(value, dict):
        raise SettingError(f"{name}: {value!r} is not a group of labels; give {name}.<label>=<value>")
    for key, text in value.items():
        if not isinstance(text, str):
            raise SettingError(f"{name}: {key} is {text!r}, not a text; put it in quotation marks")
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(text):
            raise SettingError(f"{name}: {key}={text} is not a valid label of a node; see kubectl get nodes --show-labels")
    return value


def _convert(name: str, value: Any, parameter: Parameter) -> Any:
    kind = type(parameter.default)
    whole = kind is int or (kind is str and parameter.low is not None)
    try:
        if whole and float(value) != int(float(value)):
            raise ValueError
        return kind(int(float(value)) if whole else value)
    except (TypeError, ValueError, OverflowError):
        raise SettingError(f"{name}: {value!r} is not a {'whole number' if whole else 'number'} ({parameter.description})") from None


@dataclass(frozen=True)
class StageParameters:
    """The parameters of a stage of the pipelines, each under its name in `PARAMETERS`, which has its default, range and description.

    While KFP compiles a pipeline the values are its placeholders; in a rehearsal they are what they say.
    """

    seed: int
    store: str

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        """Those of a pipeline's `arguments` that the stage takes."""
        return cls(**{name: arguments[name] for name in cls.names()})


@dataclass(frozen=True)
class CandidateParameters(StageParameters):
    """What every stage takes that trains a model, exports it and lets the gate judge it."""

    gate_margin: float
    critical_classes: str
    lang: str
    gpus: str
    train_nodes: dict[str, str]
    deploy_config: dict[str, Any]
    gate_config: dict[str, Any]


@dataclass(frozen=True)
class TrainingParameters(CandidateParameters):
    """From labelled images to the first champion."""

    data_source: str
    data_image_size: int
    train_epochs: int
    data_config: dict[str, Any]
    train_config: dict[str, Any]


@dataclass(frozen=True)
class TrafficParameters(StageParameters):
    """Replayed traffic that drifts."""

    traffic_drift: str
    traffic_config: dict[str, Any]


@dataclass(frozen=True)
class WatchParameters(CandidateParameters):
    """Watching the champion, and retraining it where that is called for; up to when is the pipeline's to say."""

    drift_alpha: float
    monitor_config: dict[str, Any]
    drift_config: dict[str, Any]
    retrain_config: dict[str, Any]
