"""What a run teaches, from its own numbers and only from those that it measured: lessons, surprises, practices, maturity.

A surprise is a result outside of what was expected before the run; the expectations stand here, as constants, so that nobody can move them
afterwards.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from components.synthesis_report.material import VARIANT_NAMES, RunMaterial
from driftloop.bundle import ONNX_FP16, ONNX_FP32, ONNX_INT8
from driftloop.contracts import (
    AUTOMATED_RETRAINING,
    BASELINE_TRAINING,
    CLEAN_LOSS_TARGET,
    CONFIRMED_BY,
    DATA_ANALYSIS,
    DRIFT_DETECTION,
    INT8_DROP_TARGET,
    MODEL_OPTIMIZATION,
    ONNX_DEPLOYMENT,
    PRODUCTION_MONITORING,
    RECOVERED_TARGET,
    TEST,
)
from driftloop.evaluation.calibration import CALIBRATION_ERROR
from driftloop.evaluation.intervals import Proportion
from driftloop.plurals import counted
from driftloop.reporting.wording import percent, points, points_interval

SERVED_NAMES = {ONNX_FP32: "onnx_fp32", ONNX_INT8: "onnx_int8", ONNX_FP16: "onnx_fp16"}
WORKED, FAILED, OPEN = "worked", "did not work", "not decided"
#: Expected before the run: least and greatest value that is no surprise. Shares are points / 100.
EXPECTED = {
    "gain of the optimised model over the baseline": (0.0, 0.15),
    "validation minus test accuracy of the optimised model": (-0.03, 0.03),
    "accuracy lost by INT8": (-0.005, INT8_DROP_TARGET),
    "speed-up of the served graph over PyTorch": (1.5, 12.0),
    "calibration error as served on the test split": (0.0, 0.05),
    "accuracy lost to the drift": (0.0, 0.30),
    "share of the loss won back by retraining": (RECOVERED_TARGET, 1.1),
    "clean accuracy lost by retraining": (-0.02, CLEAN_LOSS_TARGET),
}


@dataclass(frozen=True)
class Lesson:
    """One thing that a run taught."""

    what: str
    verdict: str
    """worked, did not work, or not decided"""
    evidence: str


def _judged(low: float, high: float) -> str:
    """A gain by its interval."""
    return WORKED if low > 0 else FAILED if high < 0 else OPEN


def lessons(material: RunMaterial) -> list[Lesson]:
    """In the order of the themes."""
    made: list[Lesson | None] = [
        _optimisation(material),
        *_ablation(material),
        _quantisation(material),
        _calibration(material),
        _detection(material),
        _retraining(material),
        _clean(material),
    ]
    return [lesson for lesson in made if lesson]


def _optimisation(material: RunMaterial) -> Lesson | None:
    compared = material.facts.get(MODEL_OPTIMIZATION, {}).get("compared_with_baseline")
    if not compared:
        return None
    low, high = compared["low"], compared["high"]
    return Lesson(
        "The better network and recipe",
        _judged(low, high),
        f"{points(compared['estimate'])} on the same {compared['n']:,} test images (95 % interval {points_interval(low, high)})",
    )


def _ablation(material: RunMaterial) -> list[Lesson]:
    facts = material.facts.get(MODEL_OPTIMIZATION, {})
    found = []
    for row in facts.get("ablation") or []:
        if None in (row["change"], row["low"], row["high"]):
            continue
        name = row["name"].removeprefix("without ")
        found.append(
            Lesson(
                f"Ingredient: {name}",
                _judged(-row["high"], -row["low"]),
                f"without it {points(row['change'])} on the validation split ({points_interval(row['low'], row['high'])}), "
                f"{counted(facts['ablation_epochs'], 'epoch')}",
            )
        )
    return found


def _quantisation(material: RunMaterial) -> Lesson | None:
    drop, speed = material.deployed.get("int8_drop"), material.deployed.get("speedup", {}).get("onnx_int8")
    if not drop or not speed:
        return None
    verdict = WORKED if drop["high"] < INT8_DROP_TARGET and speed > 1 else FAILED if drop["low"] > INT8_DROP_TARGET or speed <= 1 else OPEN
    return Lesson(
        "INT8",
        verdict,
        f"{points(-drop['value'])} ({points_interval(-drop['high'], -drop['low'])}) for {speed:.1f} times the speed of PyTorch",
    )


def _calibration(material: RunMaterial) -> Lesson | None:
    fit = material.deployed.get("calibration")
    if not fit or material.deployed.get("temperature") == 1:
        return None
    before, after = fit["ece_before"], fit["ece_after"]
    return Lesson(
        "Temperature scaling",
        WORKED if after < before else FAILED,
        f"calibration error {before:.3f} without and {after:.3f} with it, on {fit['n']:,} test images that did not fit it",
    )


def _detection(material: RunMaterial) -> Lesson | None:
    drift = material.facts.get(DRIFT_DETECTION)
    if not drift or not drift.get("windows"):
        return None
    windows = drift["windows"]
    drifted = sum(window["drifted"] for window in windows)
    replayed = str(material.parameters.get("traffic_drift", ""))
    if not replayed:
        verdict = OPEN
    elif replayed == "none":
        verdict = FAILED if drift["confirmed"] else WORKED
    else:
        verdict = WORKED if drift["confirmed"] else FAILED
    asked = f" The replayed traffic was: {replayed}." if replayed else ""
    return Lesson(
        "Telling drift from chance",
        verdict,
        f"{drifted} of {counted(len(windows), 'window')} drifted; confirmed: {_yes(drift['confirmed'])}.{asked}",
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _criterion(material: RunMaterial, name: str) -> dict[str, Any] | None:
    return next((row for row in material.gate.get("criteria", []) if row["name"] == name and row["estimate"] is not None), None)


def _retraining(material: RunMaterial) -> Lesson | None:
    row = _criterion(material, "drifted hold-out")
    if row is None:
        return None
    return Lesson(
        "Retraining on the drifted images",
        _judged(row["low"], row["high"]),
        f"{points(row['estimate'])} on {row['n']:,} drifted images that nothing had seen (one-sided bounds "
        f"{points_interval(row['low'], row['high'])})",
    )


def _clean(material: RunMaterial) -> Lesson | None:
    row = _criterion(material, "clean test")
    if row is None or AUTOMATED_RETRAINING not in material.candidate_facts:
        return None
    return Lesson(
        "Keeping what was known",
        WORKED if row["holds"] else FAILED if row["refuted"] else OPEN,
        f"{points(row['estimate'])} on the clean test split, at least {points(row['low'])}; more than {points(row['bound'])} was asked for",
    )


def expectations(material: RunMaterial) -> list[dict[str, object]]:
    """What was expected of each result, what was measured, and whether that is a surprise."""
    measured = _measured(material)
    rows: list[dict[str, object]] = []
    for name, (least, greatest) in EXPECTED.items():
        value, show = measured[name], _show(name)
        if value is None:
            said = "not measured in this run"
        elif value < least:
            said = "surprise: below"
        elif value > greatest:
            said = "surprise: above"
        else:
            said = "as expected"
        rows.append(
            {
                "result": name,
                "expected": f"{show(least)} to {show(greatest)}",
                "measured": None if value is None else show(value),
                "reading": said,
            }
        )
    return rows


def _show(name: str) -> Callable[[float], str]:
    if name.startswith("speed-up"):
        return lambda value: f"{value:.1f}x"
    if name.startswith("calibration"):
        return lambda value: f"{value:.3f}"
    return lambda value: percent(value) if name.startswith("share") else f"{100 * value:.1f} pt"


def _measured(material: RunMaterial) -> dict[str, float | None]:
    summary, deployed = material.summary, material.deployed
    gain = _difference(summary.accuracy.optimized, summary.accuracy.baseline)
    gap = _difference(material.proportion(MODEL_OPTIMIZATION, "val_accuracy"), material.proportion(MODEL_OPTIMIZATION))
    served = SERVED_NAMES.get(deployed.get("served", ""), "")
    judged = material.gate.get("accuracy", {})
    champion = Proportion(**judged["champion_clean"]) if judged.get("champion_clean") else None
    recovered = summary.targets["drift_recovered"].measured if "drift_recovered" in summary.targets else None
    return {
        "gain of the optimised model over the baseline": gain,
        "validation minus test accuracy of the optimised model": gap,
        "accuracy lost by INT8": (deployed.get("int8_drop") or {}).get("value"),
        "speed-up of the served graph over PyTorch": deployed.get("speedup", {}).get(served),
        "calibration error as served on the test split": _served_calibration(deployed),
        "accuracy lost to the drift": _difference(champion, summary.accuracy.champion_on_drifted),
        "share of the loss won back by retraining": recovered if isinstance(recovered, float) else None,
        "clean accuracy lost by retraining": _difference(champion, summary.accuracy.retrained),
    }


def _difference(first: Proportion | None, second: Proportion | None) -> float | None:
    return first.value - second.value if first and second else None


@dataclass(frozen=True)
class Practice:
    """A practice: where it is done, and this run's evidence; `done` is None where the run's branch cannot show it."""

    name: str
    guards_against: str
    done: bool | None
    where: str


def _served_calibration(deployed: Mapping[str, Any]) -> float | None:
    """The calibration error of the graph that is served; facts of earlier releases know that of the network alone."""
    measured = deployed.get("measures", {}).get("overall", {}).get(CALIBRATION_ERROR)
    return measured["value"] if measured else deployed.get("calibration", {}).get("ece_after")


def practices(material: RunMaterial) -> list[Practice]:
    """Practices of data, training, deployment, watching and renewing."""
    data, drift, deployed = (material.facts.get(step, {}) for step in (DATA_ANALYSIS, DRIFT_DETECTION, ONNX_DEPLOYMENT))
    optimised, traffic = material.facts.get(MODEL_OPTIMIZATION, {}), material.facts.get(PRODUCTION_MONITORING, {})
    counts, gate = data.get("counts", {}), material.gate
    watched, judged = bool(drift), bool(gate)
    grouped = bool(data.get("groups")) and data["groups"] < sum(counts.values())
    sweep = optimised.get("sweep")
    return [
        Practice(
            "Data named by their content",
            "not knowing what a model learnt from",
            bool(data.get("manifest_hash")) or None,
            f"dataset {str(data.get('manifest_hash', ''))[:12]}",
        ),
        Practice("Audit before training", "leaks, duplicates, contradicting labels", bool(data) or None, "theme 1: what was checked"),
        Practice(
            "Split by group, not by image",
            "one patient in training and test",
            (True if grouped else None) if data else None,
            f"{data.get('groups', 0):,} groups over {len(counts)} splits",
        ),
        Practice(
            "A test split that chooses nothing",
            "numbers that only look good",
            bool(counts.get(TEST)) or None,
            f"{counts.get(TEST, 0):,} test images; uses are counted",
        ),
        Practice(
            "Images of production kept apart",
            "comparing production with what was learnt by heart",
            bool(counts.get("reference")) or None,
            f"{counts.get('reference', 0):,} reference images",
        ),
        Practice("A baseline first", "gains over nothing", BASELINE_TRAINING in material.facts or None, "theme 2"),
        Practice(
            "Intervals beside every accuracy",
            "celebrating noise",
            bool(material.summary.accuracy.optimized or watched) or None,
            "all tables of accuracies",
        ),
        Practice(
            "Paired comparison on the same images",
            "differences that are those of the images",
            bool(optimised.get("compared_with_baseline")) or None,
            "theme 3: against the baseline",
        ),
        Practice(
            "Ablation",
            "keeping ingredients that do nothing",
            bool(optimised.get("ablation")) if optimised else None,
            f"{max(0, len(optimised.get('ablation') or []) - 1)} ingredients taken away, "
            f"{len(optimised.get('ablation_left_out') or [])} not run",
        ),
        Practice(
            "Search over hyper-parameters",
            "settings by habit",
            bool(sweep) if optimised else None,
            f"{len(sweep)} trials" if sweep else "off; `train_config.sweep_trials` turns it on",
        ),
        Practice(
            "Several seeds",
            "taking one lucky run for the method",
            False if optimised else None,
            "one seed a run; `bench/` repeats over seeds",
        ),
        Practice(
            "Compare what is served",
            "a graph that behaves unlike the training code",
            bool(deployed) or None,
            f"`{deployed.get('served', '')}` is judged and served",
        ),
        Practice("Preparation inside the graph", "clients that prepare images in another way", bool(deployed) or None, "theme 4: export"),
        Practice(
            "Calibration measured on unseen images",
            "confidence that flatters itself",
            bool(deployed.get("calibration")) or None,
            "theme 4: calibration",
        ),
        Practice(
            "Latency measured beside the baseline, in turns",
            "comparing hours of the day",
            bool(deployed.get("benchmark")) or None,
            "theme 4: latency",
        ),
        Practice("Every request logged with its version", "not knowing who answered", bool(traffic) or None, "theme 5"),
        Practice("Alert rules with limits fixed beforehand", "alarms by taste", bool(traffic) or None, "theme 5: alerts"),
        Practice(
            "Tests with a known error rate",
            "thresholds that alarm on clean weeks",
            bool(drift.get("alpha")) or None,
            f"alpha {drift.get('alpha', 0):.3g} a window, confirmed by {CONFIRMED_BY}",
        ),
        Practice("Harm from random labels only", "judging by the images that were odd", bool(drift) or None, "theme 6: does it matter?"),
        Practice("Labels asked for by a list", "labelling what is easy to find", bool(drift) or None, "`label_requests.csv`"),
        Practice(
            "A gate before promotion",
            "replacing a good model by a worse one",
            judged or material.first_gate_passed or None,
            f"{sum(bool(row['holds']) for row in gate.get('criteria', []))} of {len(gate.get('criteria', []))} criteria hold"
            if judged
            else "the first gate, before the watch",
        ),
        Practice("Slices that may veto", "paying a gain by one class", judged or None, "theme 7: slices"),
        Practice(
            "Versions that never change, one pointer",
            "not being able to go back",
            bool(material.summary.champion.after) or None,
            way_back(material),
        ),
        Practice("Secrets outside of code and parameters", "keys in logs", True, "AWS_* variables, a Kubernetes secret on a cluster"),
        Practice("Pinned, hashed requirements", "a library that changed overnight", True, "`requirements/*.txt`"),
        Practice(
            "Tests of the pipeline itself", "decisions by code that nobody checked", True, "`make test`; mutants of the deciding code"
        ),
        Practice(
            "Fairness audit by protected group",
            "harm to people that averages hide",
            False,
            "only slices by size and brightness; the source names no protected groups",
        ),
        Practice(
            "Shadow or canary before the switch",
            "learning from users what a gate did not see",
            False,
            "not yet: promotion moves the pointer at once",
        ),
    ]


def way_back(material: RunMaterial) -> str:
    """How the version that serves is undone."""
    before, after = material.summary.champion.before, material.summary.champion.after
    if not after:
        return "nothing serves yet"
    if before and before != after:
        return f"version {after} serves; `driftloop models rollback` brings version {before} back"
    return f"version {after} serves; the next one can be rolled back to it"


def google_levels(material: RunMaterial) -> list[dict[str, object]]:
    """Google Cloud's three levels, with what this run shows of each."""
    watched, judged = material.summary.drift is not None, AUTOMATED_RETRAINING in material.candidate_facts
    automatic = (
        "shown: monitored, retrained and gated without a person, but for the labels"
        if judged
        else "shown in part: monitored; nothing had to be retrained"
        if watched
        else "shown in part: data and model are validated by the pipeline; nothing is watched yet"
    )
    return [
        {
            "level": "0: manual process",
            "asks for": "a model trained and handed over by people",
            "this run": "passed: every step is in a pipeline",
        },
        {
            "level": "1: pipeline automation",
            "asks for": "data and model validation, metadata, continuous training that a trigger starts",
            "this run": automatic,
        },
        {
            "level": "2: CI/CD automation",
            "asks for": "tested, versioned pipelines that continuous integration builds and deploys",
            "this run": "beyond what a run can show: the repository tests and compiles its pipelines; deploying them is the user's",
        },
    ]


def microsoft_levels(material: RunMaterial) -> list[dict[str, object]]:
    """Microsoft's five levels, with what this run shows of each."""
    watched, renewed = material.summary.drift is not None, AUTOMATED_RETRAINING in material.candidate_facts
    promoted = renewed and material.summary.gate is not None and material.summary.gate.decision == "promote"
    return [
        {"level": "0: no MLOps", "asks for": "-", "this run": "passed"},
        {
            "level": "1: DevOps, no MLOps",
            "asks for": "automated builds and tests of the code",
            "this run": "passed: by the repository's own checks",
        },
        {
            "level": "2: automated training",
            "asks for": "reproducible training, managed models",
            "this run": "passed: data hash, seed, versions and checksums",
        },
        {
            "level": "3: automated deployment",
            "asks for": "a model reaches production by a tested, traceable release",
            "this run": "passed: the gate's evidence travels with the version"
            if material.summary.champion.after
            else "not shown: nothing was promoted",
        },
        {
            "level": "4: full automation",
            "asks for": "production's measurements start the retraining, and the winner is deployed",
            "this run": "shown: drift started it, and the gate promoted it"
            if promoted
            else "shown in part: drift started it, and the gate did not promote"
            if renewed
            else "shown in part: production is measured"
            if watched
            else "not shown: no traffic was watched",
        },
    ]


def next_step(material: RunMaterial) -> str:
    """What brings the setting that this run stands for one level further."""
    if not material.summary.champion.after:
        return "Find out why nothing was promoted: the gate's criteria say what is missing, and how many labelled images would decide."
    if material.summary.drift is None:
        return (
            "Put the model behind `driftloop serve` and watch it on a schedule: `driftloop schedule` on a cluster, or cron and "
            "`driftloop run drift-watch`."
        )
    if material.verdict == "needs_labels":
        asked = material.facts.get(DRIFT_DETECTION, {}).get("asked", {})
        if asked.get("in_vain"):
            return "Do what the drift's chapter says under Next: labels alone cannot say whether the drift does harm."
        if asked.get("images") == 0:
            return "Wait for the next windows: of these no further image can be labelled."
        return (
            "Have the listed images labelled: without labels nobody can say whether the drift does harm, and a retraining would be a guess."
        )
    if AUTOMATED_RETRAINING not in material.candidate_facts:
        return (
            "Keep the watch on its schedule, and rehearse a drift (`driftloop rehearse`), so that labels and people are ready "
            "when one comes."
        )
    return "Let continuous integration compile and upload the pipelines, and try a shadow period before promotions that users would notice."


def variant_advice(material: RunMaterial) -> list[dict[str, object]]:
    """When to use which variant, with this run's figures."""
    deployed = material.deployed
    served = SERVED_NAMES.get(deployed.get("served", ""), "")
    speed = deployed.get("speedup", {})
    int8, drop = speed.get("onnx_int8"), deployed.get("int8_drop", {})
    rows: list[dict[str, object]] = [
        {
            "variant": "baseline (plain CNN)",
            "use it": "to know what a gain is a gain over; not to serve",
            "because": "it is the simplest model that does the task",
        },
        {
            "variant": "PyTorch FP32 (eager)",
            "use it": "to train further and to look inside; not to serve",
            "because": "it is the slowest of the forms measured and needs PyTorch where it runs"
            if all(value > 1 for value in speed.values()) and speed
            else "it needs PyTorch where it runs",
        },
        {
            "variant": "ONNX FP32",
            "use it": "where every tenth of a point counts, or where INT8 lost too much",
            "because": f"it computes what PyTorch computes, {speed['onnx_fp32']:.1f} times as fast here"
            if "onnx_fp32" in speed
            else "it computes what PyTorch computes",
        },
        {
            "variant": "ONNX INT8",
            "use it": "on CPUs, if the bound on its loss holds",
            "because": f"{int8:.1f} times PyTorch's speed, {points(-drop['value'])} of accuracy here"
            if int8 and drop
            else "it is the smallest form",
        },
        {
            "variant": "ONNX FP16",
            "use it": "many images at a time on GPUs; one at a time, FP32 may be as fast",
            "because": "measured here" if deployed.get("accuracy_fp16") else "not measured in this run, which serves on CPUs",
        },
    ]
    if AUTOMATED_RETRAINING in material.candidate_facts:
        rows.append(
            {
                "variant": "retrained model",
                "use it": "while the traffic is as the drift made it",
                "because": "; ".join(material.gate.get("reasons", [])[:2]),
            }
        )
    for row in rows:
        if row["variant"] == VARIANT_NAMES.get(served):
            row["variant"] = f"{row['variant']} (served)"
    return rows
