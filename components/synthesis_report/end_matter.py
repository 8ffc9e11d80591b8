"""What stands after the themes: limits, conclusion, and the appendices."""

import json
import platform
import shlex
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import driftloop
from components.synthesis_report.front_matter import TARGET_NAMES, best_gain, outcome_of, story
from components.synthesis_report.lessons import next_step
from components.synthesis_report.material import DRIFT_WATCH, FULL_LOOP, MAKING, RENEWING, TITLES, TRAINING, WATCHING, RunMaterial
from driftloop.contracts import DATA_ANALYSIS, KEPT, PROMOTED
from driftloop.reporting import PALETTE, Page, axes
from driftloop.reporting.chapter import Chapter
from driftloop.reporting.wording import percent, points
from driftloop.settings import GROUPS, PARAMETERS

#: Words of the trade, in the order of the alphabet.
GLOSSARY = {
    "ablation": "a run without one ingredient, to see what it brought",
    "alarm": "a window whose test rejects; a single one decides nothing",
    "alert": "a verdict: drift that is confirmed, or seems to be, and starts no retraining now",
    "alert rule": "a fixed limit on one value of the service or the model; it fires or not, and decides nothing about drift",
    "area under the ROC curve (AUROC)": "the chance that a random positive image scores above a random negative one",
    "baseline": "the simplest model that does the task; gains are gains over it",
    "bound, one-sided": "what the true value lies above (or below) with the stated probability",
    "bundle": "one folder with a model: weights, graphs, facts, reference, card and checksums",
    "calibration": "whether answers given with 90 % confidence are right in 90 % of the cases",
    "candidate": "a bundle that the gate judges",
    "champion": "the version that serves",
    "clean": "images like those of the training; drifted: images of a confirmed drift",
    "concept drift": "the right answers change while the images look as before",
    "criterion": "one requirement of the gate: it holds, is refuted, or is open",
    "data drift": "the images change",
    "embedding": "the vector of an image inside the network, before the last layer",
    "epoch": "one pass over the training images",
    "expected calibration error (ECE)": "mean distance of confidence from accuracy over bins of confidence",
    "false alarm": "an alarm without a change; its rate is the level of the test",
    "gate": "the step that decides whether a candidate may serve",
    "group": "the patient, lot or site of an image; images of a group are not independent",
    "harm": "accuracy that a drift costs, from random labels",
    "hold-out": "labelled images that nothing has learnt from",
    "inconclusive": "a decision: the data do not decide, and the champion stays",
    "INT8, FP32, FP16": "numbers of 8, 32 and 16 bits that a graph computes with",
    "interval, 95 %": "a range that contains the true value in 95 of 100 such studies",
    "KS test": "compares two distributions by the largest distance of their cumulative shares",
    "label request": "an image that somebody is asked to label, with its purpose",
    "level (alpha)": "how often a test alarms without a change",
    "margin": "the loss that counts as no loss, fixed before a candidate is trained",
    "MMD": "a distance of two samples of vectors, tested by permutation",
    "needs_labels": "a verdict: drift is confirmed, and labels are needed before a retraining",
    "non-inferior": "shown to be worse by less than the margin",
    "ONNX": "a file format of networks that many programs can run",
    "p95 latency": "the time that 95 of 100 requests do not exceed",
    "paired comparison": "two models on the same images, compared image by image",
    "permutation test": "how often a random split of the same images is as far apart as this one",
    "points (pt)": "hundredths of a share: from 80 % to 82 % are 2 points",
    "PSI": "population stability index, an effect size without a level",
    "quantisation": "computing with small whole numbers in place of fractions",
    "reference": "images that stand for what the champion was accepted for",
    "regime": "a kind of images that a champion was accepted for: clean, or a drift that it has learnt",
    "request": "one image sent to the service; a row of the log is one request",
    "retrain": "a verdict: drift that does harm, with labels enough to learn from",
    "rollback": "moving the pointer back to the version before",
    "sensitivity, specificity": "the share of positive images found, and of negative ones left alone",
    "slice": "a part of the test images that is looked at by itself",
    "stable": "a verdict: no confirmed change",
    "temperature": "one number that the logits are divided by, so that confidence is right",
    "verdict": "what the watch decides: stable, alert, needs_labels or retrain",
    "watch": "one look at production since the one before",
    "window": "so many consecutive requests, tested together; named watch/number",
}
#: Of the libraries that decide what comes out.
LIBRARIES = ("numpy", "scipy", "pandas", "onnxruntime", "onnxruntime-gpu", "matplotlib", "pydantic", "kfp", "typst")


def limits(material: RunMaterial) -> Chapter:
    """What the whole report does not say."""
    page = Page("Limits")
    data = material.facts.get(DATA_ANALYSIS, {})
    every = [
        "One run, one seed. Intervals are over images: they say what another sample of images would give, not what another seed "
        "would. The repository's "
        "`bench/` repeats whole loops over seeds and reports their spread.",
        "The measured times are of one machine, which did other things as well; ratios of processor time are kept apart from "
        "times by the clock.",
        "The tests have known error rates under their assumptions: windows of independent groups, a reference that stands for "
        "what was accepted. Where a source "
        "names no groups, the first of these is taken on trust.",
        "Absence of an alarm is not evidence of absence: a window of a few hundred images sees a medium change with near "
        "certainty and a small one rarely.",
        "Labels decide about harm and about candidates. Labels that are wrong, or that come only for some kinds of images, bend "
        "both, and no statistic of the "
        "labels themselves shows it.",
        "Only what is logged is watched: requests that a client never sends, or that fail before the model, are outside of this report.",
        "Use beyond what was judged (other devices, other classes, other questions) is outside of it as well. A classifier of "
        "medical images needs an approval "
        "that no such report replaces.",
    ]
    if str(data.get("source", "")).startswith("synthetic"):
        every.insert(
            0,
            "The images are synthetic. Accuracies, drifts and recoveries show that the loop works as it should, and nothing about "
            "real images.",
        )
    page.points(every)
    page.section("What is missing in this run")
    absent = missing(material)
    if absent:
        page.points(absent)
    else:
        page.text("Every stage of this pipeline ran and left its chapter.")
    page.section("Threats to validity, and what was done about them")
    page.table(
        [
            {
                "threat": "the test split is used too often",
                "answer": "each use by a gate is counted; from a limit on nothing is promoted automatically",
            },
            {
                "threat": "looking until it alarms",
                "answer": "the level is set for the number of windows that are expected, and bounds on harm hold at all looks together",
            },
            {
                "threat": "the champion judges its own images",
                "answer": "reference, hold-out and test images take no part in training, by group",
            },
            {
                "threat": "labels chosen to please",
                "answer": "only labels from the random list count for harm and gate; each is checked against that list",
            },
            {"threat": "a graph unlike the training code", "answer": "parity is checked at export, and what is judged is the served file"},
            {
                "threat": "a result told better than it is",
                "answer": "the sentences are derived from the numbers by rules that have tests of their own",
            },
        ],
        "Threats to validity.",
    )
    return page.chapter


def missing(material: RunMaterial) -> list[str]:
    """What this run did not do, and why, one sentence each."""
    summary, said = material.summary, []
    if summary.error:
        said.append(f"The run ended early: {summary.error}")
    if material.pipeline == FULL_LOOP and summary.drift is None:
        said.append("No traffic was watched: the run did not come so far.")
    if summary.drift is not None and summary.gate is None:
        said.append(f"Nothing was retrained and no candidate was judged: the verdict was {summary.drift.verdict}.")
    silent = [TITLES[step] for step in MAKING if step in material.facts and step not in material.chapters] if not material.short else []
    if silent:
        said.append(f"Steps that left facts and no chapter, since an earlier release ran them: {', '.join(silent)}.")
    if material.pipeline == TRAINING:
        said.append("A training watches nothing: monitoring, drift and retraining are for a full-loop or a drift-watch.")
    unmeasured = [TARGET_NAMES.get(name, name) for name, target in summary.targets.items() if target.met is None]
    if unmeasured:
        said.append(f"Targets without an answer: {', '.join(unmeasured)}.")
    return said


def conclusion(material: RunMaterial) -> Chapter:
    """The end: what was asked, what was found, what comes next."""
    summary = material.summary
    page = Page("Conclusion", lead=story(material))
    sentences = [best_gain(material)]
    drop = material.deployed.get("int8_drop")
    if drop:
        served = material.deployed.get("served")
        sentences.append(
            f"Exported, it is served as `{served}`: INT8 changes its accuracy by {points(-drop['value'])} and answers "
            f"{material.deployed['speedup']['onnx_int8']:.1f} "
            "times as fast as PyTorch."
        )
    if summary.drift:
        sentences.append(f"In production the verdict is {summary.drift.verdict}. {summary.drift.reason}")
    first, second = summary.accuracy.champion_on_drifted, summary.accuracy.retrained_on_drifted
    if first and second:
        sentences.append(
            f"On drifted images the champion reaches {percent(first.value)} and the retrained model {percent(second.value)}, "
            f"{'a gain' if second.value > first.value else 'no gain'} of {abs(100 * (second.value - first.value)):.1f} points."
        )
    page.text(" ".join(sentence for sentence in sentences if sentence) or "This run ended before it had a result.")
    if summary.gate:
        page.text(f"The gate's decision is {summary.gate.decision}: {'; '.join(summary.gate.reasons)}.")
    if summary.drift:
        page.text(
            {
                PROMOTED: "So the loop closed: a change was noticed, shown to do harm, learnt, judged and put into service, and "
                "the way back stays open.",
                KEPT: "So the loop held: a change was noticed and a candidate was made, and it was not good enough, or not known "
                "to be, for users to get it.",
            }.get(outcome_of(material), "So the loop did what it does on most days: it looked, and found no reason to change what serves.")
        )
    page.section("What to take along")
    page.points(
        [
            "Most of the work of a model comes after its training: what is served, what it meets, and who decides when it is replaced.",
            "A number without an interval is an anecdote; a threshold without an error rate is an alarm clock set at random.",
            "Drift is common, harm is not. Telling them apart takes labels of random images, a few of each window, from the first day on.",
            "A gate that may say `I do not know` is what makes automatic retraining safe enough to leave alone.",
            "What can be undone in one step can be done by a machine; the rest is for people.",
        ]
    )
    page.section("What comes next")
    page.text(next_step(material))
    page.text(
        "Beyond this run: other seeds, to see which of its findings are its own; images of another site, to see what the "
        "reference was worth; and a rehearsal "
        "of the drift that would hurt most, before it comes by itself."
    )
    return page.chapter


#: Of a report that a step has written.
UNKNOWN_PARAMETERS = "What this run was given stands on its page in the pipeline's UI."


def parameters_appendix(material: RunMaterial) -> Chapter:
    """Every parameter and every setting with its value, default and meaning."""
    page = Page("Parameters")
    given = material.parameters
    # A step is not told all of its run's parameters; the command that brings the report back writes it again with them.
    page.text(
        "What people turn between runs, and every setting of every group. "
        + (
            "A value that differs from the default stands in the column `here`."
            if given
            else f"{UNKNOWN_PARAMETERS} These are the defaults."
        )
    )
    page.table(
        [
            {
                "parameter": f"`{name}`",
                **({"here": _cell(given[name]) if name in given else None} if given else {}),
                "default": _cell(parameter.default),
                "what": parameter.description,
            }
            for name, parameter in PARAMETERS.items()
            if not name.endswith("_config") and (not given or name in given)
        ],
        "Parameters of the pipeline.",
    )
    for name, group in GROUPS.items():
        if given and f"{name}_config" not in given:
            continue
        overrides: Mapping[str, Any] = given.get(f"{name}_config") or {}
        page.section(f"{name}_config")
        page.table(
            [
                {
                    "setting": f"`{field}`",
                    **({"here": _cell(overrides[field]) if field in overrides else None} if given else {}),
                    "default": _cell(info.default),
                    "what": info.description,
                }
                for field, info in group.model_fields.items()
            ],
            f"Settings of {group.purpose}.",
        )
    return page.chapter


def _cell(value: object) -> str:
    return f"`{value}`" if isinstance(value, str) and value else _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) if value not in ("", {}, [], None) else "none"


def environment_appendix(material: RunMaterial) -> Chapter:
    """Versions, machine and times."""
    page = Page("Environment")
    rows = [{"library": name, "version": number, "of": "the model"} for name, number in material.libraries.items()]
    rows += [{"library": name, "version": number, "of": "this report"} for name, number in _installed().items()]
    page.table(rows, "Versions of what the model and this report were made with.")
    devices = {
        step: facts["device"]
        for step, facts in {**material.facts, **material.candidate_facts}.items()
        if isinstance(facts, dict) and facts.get("device")
    }
    if devices:
        page.table(
            [{"step": step.replace("_", " "), "trained on": device} for step, device in devices.items()], "Hardware of the trainings."
        )
    steps = material.summary.steps
    if steps:
        page.section("Time of the steps")
        figure, (axis,) = axes(7.0, 0.7 + 0.24 * len(steps))
        axis.barh(list(steps)[::-1], list(steps.values())[::-1], color=PALETTE[0], height=0.6)
        axis.set_xlabel("seconds by the clock")
        axis.grid(visible=False, axis="y")
        page.figure(figure, "Wall time by step, in the order in which they ran.", key="step-times")
        longest = max(steps, key=lambda name: steps[name])
        total = sum(steps.values())
        page.text(
            f"[[step-times]]: the steps took {total:,.0f} seconds together, of which {longest} took {steps[longest]:,.0f} "
            f"({percent(steps[longest] / total)}). "
            "On a cluster the times of pods and downloads come on top."
        )
    _resources(page, material)
    return page.chapter


def _resources(page: Page, material: RunMaterial) -> None:
    """Processor, memory and GPU of the steps that leave facts; those of an older release say nothing."""
    used = {step.replace("_", " "): material.used[step] for step in (*MAKING, *WATCHING) if step in material.used}
    for step in RENEWING:
        if step in material.candidate_used:
            used[step.replace("_", " ") + (" (candidate)" if step in MAKING else "")] = material.candidate_used[step]
    if not used:
        return
    rows = [
        {
            "step": step,
            "seconds": one["seconds"],
            "processor, s": one["cpu_seconds"],
            "cores busy": one["cpu_seconds"] / one["seconds"] if one["seconds"] else None,
            "peak memory, MB": one["peak_mb"],
            "peak GPU memory, MB": one["gpu_peak_mb"],
        }
        for step, one in used.items()
    ]
    page.section("Processor, memory and GPU of the steps")
    page.table(rows, "Measured by each step itself shortly before its end; memory is that of its largest process.", key="step-use")
    largest = max(used, key=lambda step: used[step]["peak_mb"])
    busiest = max(used, key=lambda step: used[step]["cpu_seconds"])
    gpus = [step for step, one in used.items() if one["gpu_peak_mb"] is not None]
    page.text(
        f"[[step-use]]: most memory was taken by {largest} ({used[largest]['peak_mb']:,.0f} MB), most processor time by {busiest} "
        f"({used[busiest]['cpu_seconds']:,.0f} s). "
        + (f"A GPU was used by {', '.join(gpus)}. " if gpus else "No step used a GPU. ")
        + "What a service of one process uses stands in its `/metrics` (`process_cpu_seconds_total`, `process_resident_memory_bytes`)."
    )


def _installed() -> dict[str, str]:
    found = {"driftloop": driftloop.__version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def glossary_appendix() -> Chapter:
    """The words."""
    page = Page("Glossary")
    page.table(
        [{"word": word, "meaning": meaning} for word, meaning in sorted(GLOSSARY.items(), key=lambda item: item[0].lower())],
        "One word for one thing.",
    )
    return page.chapter


def _assignments(parameters: Mapping[str, Any]) -> str:
    """What a run's parameters say beside the defaults, as options of `driftloop run`; source, drift, seed and store are not among them."""
    said: dict[str, Any] = {}
    for name, value in parameters.items():
        if name.endswith("_config"):
            said |= {f"{name}.{setting}": chosen for setting, chosen in (value or {}).items()}
        elif name in PARAMETERS and name not in ("data_source", "traffic_drift", "seed", "store") and value != PARAMETERS[name].default:
            said[name] = value
    written = {name: value if isinstance(value, str) else json.dumps(value) for name, value in said.items()}
    return "".join(f" --set {shlex.quote(f'{name}={value}')}" for name, value in written.items())


def reproduction_appendix(material: RunMaterial) -> Chapter:
    """How to do it again."""
    summary = material.summary
    page = Page("How to reproduce")
    source = f" --source {summary.source}" if summary.source and material.pipeline != DRIFT_WATCH else ""
    drift = material.parameters.get("traffic_drift")
    shown_drift = f" --drift {drift}" if drift else ""
    page.text(
        "The same data, seed and parameters give the same numbers on the same kind of machine, times aside; processors that add "
        "in another order differ in the last digits."
    )
    page.points(
        [
            "Install: `make setup` in the repository, at the version that the environment names.",
            f"Run: `driftloop run {material.pipeline}{source}{shown_drift} --seed {summary.seed}{_assignments(material.parameters)}`."
            + ("" if material.parameters else f" {UNKNOWN_PARAMETERS}"),
            "Look: `runs/latest/report.html`, and the deliverables beside it.",
            "Write this report again from the folder of a run: `driftloop report`.",
            "Check the data: the dataset's name is a hash of its content, "
            f"{str(material.facts.get(DATA_ANALYSIS, {}).get('manifest_hash', 'not known'))[:12]}.",
            "Check the model: every version has its SHA256SUMS; `driftloop models verify` compares.",
            "Check the code: `make test` runs all tests, `make lint` the rest.",
        ]
    )
    page.section("What the files of a run are")
    page.table(
        [
            {"file": "summary.json", "what": "results in documented fields, for scripts"},
            {"file": "report.html, report.pdf", "what": "this report"},
            {"file": "deliverables/", "what": "what the course asks for, under the names that it uses"},
            {"file": "artifacts/", "what": "what each step left, as the pipeline stores it"},
            {"file": "parameters.json", "what": "all parameters of the run"},
            {"file": "run.log", "what": "all that the steps printed"},
            {"file": "store/", "what": "the model's home: datasets, versions, logs, labels, watch records"},
        ],
        "Files in the folder of a run.",
    )
    return page.chapter
