"""bench/README.md from the results in bench/results/: every table with its machine, its versions, its date and its command.

python -m bench.tables [--check]
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

from bench import (
    accepted_noise,
    accepted_regime,
    alarm_budget,
    audit_size,
    augmentation,
    clustered_windows,
    dataset_size,
    drift_beside_alibi,
    drift_beside_others,
    drift_level_power,
    drift_speed,
    drift_teaching,
    full_loop_seeds,
    gate_error_rates,
    gate_situations,
    gpu,
    grouped_accuracy,
    harm_of_groups,
    harm_over_time,
    imbalance,
    ingest,
    ingest_shards,
    killed_trainings,
    label_errors,
    latency_limit,
    mutants,
    on_cpu,
    photographs,
    policies_rehearsed,
    policy_tables,
    policy_world,
    privacy,
    rare_classes,
    real_drift,
    recipes,
    reference_size,
    rehearsals,
    retraining_recovery,
    serving,
    serving_profile,
    serving_soak,
    step_needs,
    subgroups,
    weak_drifts,
)

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE / "README.md"
INTRODUCTION = """# Measurements

Each table comes from the command above it and lies as JSON in `results/`; `python -m bench.tables` writes this page from there.
Ratios are measured side by side in one run. Intervals are 95 % (Wilson). A goal that was missed says so.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    chosen = parser.parse_args()
    page = render()
    if chosen.check:
        return 0 if PAGE.read_text() == page else 1
    PAGE.write_text(page)
    return 0


def render() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for name, (title, module, table) in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text())
            lines = str(module.__doc__).strip().splitlines()
            command = next(line.strip() for line in lines if line.strip().startswith("python -m"))
            parts.append(f"## {title}\n\n{lines[0]}\n\n```sh\n{command}\n```\n\n{origin(result)}\n\n{table(result)}\n")
    return "\n".join(parts)


def origin(result: dict[str, Any]) -> str:
    """Where and when it was measured, with what."""
    about = result.get("environment", result)
    machine = about["machine"]
    libraries = listed(about["libraries"]) + ("; beside it " + listed(result["other"]) if "other" in result else "")
    return (
        f"{about['date']}; {machine['cores']} cores, {machine['processor']}, {machine['system']}, Python {machine['python']}; {libraries}."
    )


def listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    names = list(header)
    lines = ["| " + " | ".join(names) + " |", "|---|" + "---:|" * (len(names) - 1)]
    return "\n".join(lines + ["| " + " | ".join("–" if cell is None else str(cell) for cell in row) + " |" for row in rows])


def goals(result: dict[str, bool | None]) -> str:
    """Which goals were met."""
    return "Goals: " + "; ".join(f"{name.replace('_', ' ')} **{'met' if met else 'missed'}**" for name, met in result.items()) + "."


def level_power(result: dict[str, Any]) -> str:
    names = drift_level_power.DETECTORS
    level, power = (by_detector(result[kind]) for kind in ("level", "power"))
    trials = result["trials"]
    levels = ((n, *(rate(cells[name]) for name in names)) for (_, n), cells in level.items())
    powers = ((drift, n, *(f"{cells[name]['rate']:.2f}" for name in names)) for (drift, n), cells in power.items())
    return "\n\n".join(
        (
            f"Network: {result['network']}. Reference {result['reference']}, alpha {result['alpha']}, "
            f"{result['permutations']} permutations.",
            "`decision` is the deciding test: `statistics` or `embedding`, each at alpha/2. The others decide nothing.",
            f"**Level**: alarms on clean windows of n images, the reference drawn anew in each of {trials['level']:,} trials.",
            table(("n", *names), levels),
            f"**Power**: alarms on drifted windows in {trials['power']:,} trials.",
            table(("drift", "n", *names), powers),
            fixed_reference(result["fixed_reference"]),
            worst_level(result["level"]),
            goals(result["goals"]),
        )
    )


def worst_level(rows: list[dict[str, Any]]) -> str:
    """What "at most 5 %" means: the worst that was measured, and whether it can be told from 5 %."""
    worst = max((row for row in rows if row["detector"] == "decision"), key=lambda row: row["rate"])
    measured = f"{rate(worst)} at n = {worst['size']}"
    return f"At most 5 % means: not significantly above. The worst level of `decision` that was measured is {measured}."


def fixed_reference(result: dict[str, Any]) -> str:
    windows = result["windows_each"]
    rates = tuple(f"{result[f'{which}_rate']:.3f}" for which in ("smallest", "largest", "mean"))
    return (
        f"**One fixed reference**: {result['references']} references, {windows} clean windows of {result['window']} each. The rate by "
        f"reference lies between {rates[0]} and {rates[1]}, {rates[2]} on average. Confirmed alarms (2 of 3) in {windows} windows: "
        f"{result['confirmed_alarms_per_90_windows']:.2f}; the formula for independent windows says {result['formula']:.2f}."
    )


def by_detector(rows: list[dict[str, Any]]) -> dict[tuple[str, int], dict[str, dict[str, Any]]]:
    cells: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["scenario"], row["size"]), {})[row["detector"]] = row
    return cells


def rate(cell: dict[str, Any]) -> str:
    return between(cell["rate"], [cell["low"], cell["high"]])


def speed(result: dict[str, Any]) -> str:
    rows = ((row["what"], ms(row["seconds"]), ms(row["plain_seconds"]), f"{row['ratio']:.1f}x") for row in result["rows"])
    large = result["large"]
    return "\n\n".join(
        (
            f"{result['threads']} threads.",
            table(("what", "ms", "plain ms", "ratio"), rows),
            f"MMD, 10,000 x 10,000, d = 512, 500 permutations: {large['seconds']:.1f} s, peak {large['peak_gb']:.2f} GB.",
            goals(result["goals"]),
        )
    )


def beside_alibi(result: dict[str, Any]) -> str:
    rows = (
        (
            row["what"].upper(),
            *(ms(row[side]["seconds"]) for side in ("ours", "alibi_detect")),
            f"{row['ratio']:.1f}x ({row['goal']:g}x: {'met' if row['met'] else 'missed'})",
            *(f"{row[side]['peak_mb']:.1f}" for side in ("ours", "alibi_detect")),
            f"{row['largest_difference_of_p']:.2g} ({'agree' if row['agree'] else 'disagree'})",
        )
        for row in result["rows"]
    )
    return table(("test", "ms", "alibi-detect ms", "ratio (goal)", "MB", "alibi-detect MB", "largest difference of p"), rows)


def ms(seconds: float) -> str:
    return f"{1000 * seconds:,.1f}"


def teaching(result: dict[str, Any]) -> str:
    names = ("detect_pixel_drift", "detect_embedding_drift")
    rows = ((row["size"], *(share(row[name]) for name in names)) for row in result["rates"])
    return f"Alarms on clean windows of n images, reference {result['reference']}, {result['trials']} trials.\n\n" + table(
        ("n", *names), rows
    )


def share(result: dict[str, Any]) -> str:
    return between(result["value"], [result["low"], result["high"]])


def gate(result: dict[str, Any]) -> str:
    rows = (
        (
            *(row[name] for name in ("scenario", "kind")),
            between(row["promote"], row["promote_interval"]),
            *(f"{row[name]:.3f}" for name in ("reject", "inconclusive")),
        )
        for row in result["rates"]
    )
    creep = (
        (
            "yes" if row["no_creep_rule"] else "no",
            f"{100 * row['mean_change']:+.2f}",
            between(row["lost_more_than_margin"], row["interval"]),
            f"{row['mean_promotions']:.1f}",
        )
        for row in result["creep"]
    )
    histories, retrainings = (result["creep"][0][name] for name in ("histories", "retrainings"))
    return "\n\n".join(
        (
            f"{result['repeats']:,} simulated candidates a row.",
            table(("candidate", "kind", "promote", "reject", "inconclusive"), rows),
            f"**Creep**: {histories:,} histories of {retrainings} retrainings, each of which changes accuracy by the mean given.",
            table(("compared with the best earlier champion", "mean change, points", "lost more than the margin", "promotions"), creep),
            largest_exact_level(result["exact_levels"]),
            goals(result["goals"]),
        )
    )


def largest_exact_level(rows: list[dict[str, Any]]) -> str:
    worst = max(rows, key=lambda row: row["level"])
    return (
        f"**Exact level** of the bound (nominally 5 %), over {len(rows):,} cells of images, disagreement and true difference: at most "
        f"{100 * worst['level']:.2f} %, at n = {worst['n']:,}, disagreement {100 * worst['psi']:.0f} % and a true difference of "
        f"{100 * worst['difference']:+.0f} points."
    )


def between(value: float, interval: list[float]) -> str:
    return f"{value:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"


def recovery(result: dict[str, Any]) -> str:
    columns = ("clean_before", "clean_after", "drifted_before", "drifted_after", "recovered", "would_pass")
    seeds = sorted({row["seed"] for row in result["rows"]})
    rows = ((row["recipe"], *(f"{row[name]:.3f}" for name in columns)) for row in result["means"])
    return f"Means over the study seeds {', '.join(map(str, seeds))}, drift {result['drift']}.\n\n" + table(
        ("recipe", *(name.replace("_", " ") for name in columns)), rows
    )


def played(result: dict[str, Any]) -> str:
    names = ("false_alarms", "detection_delay", "retrainings", "promotions")
    accuracies = ("accuracy_before", "accuracy_in_drift", "accuracy_after")
    rows = (
        (
            f"`{row['command']}`",
            *(row[name] for name in names),
            *(None if row[name] is None else f"{row[name]:.3f}" for name in accuracies),
            ", ".join(f"{window}: {decision}" for window, decision in row["decisions"]) or None,
            ", ".join(stretches(row["verdicts"])) or None,
        )
        for row in result["rows"]
    )
    return seeds_together(result["rows"]) + table(
        ("rehearsal", *(name.replace("_", " ") for name in (*names, *accuracies)), "decisions by window", "verdicts other than stable"),
        rows,
    )


def stretches(verdicts: list[tuple[int, str, str]]) -> Iterable[str]:
    """Neighbouring windows (number, drift, verdict) with the same verdict, as `21-24: needs_labels`."""
    # Within a stretch the number of the window less its place in the list stays the same.
    for (verdict, _), group in groupby(enumerate(verdicts), key=lambda place: (place[1][2], place[1][0] - place[0])):
        windows = [window for _, (window, _, _) in group]
        yield f"{windows[0]}{f'-{windows[-1]}' if len(windows) > 1 else ''}: {verdict}"


def seeds_together(rows: list[dict[str, Any]]) -> str:
    """The histories that differ only in their seed: what came by chance, beside what chance should bring."""
    seeds = [row for row in rows if row["case"].startswith("seed-")]
    promoted = [[window for window, decision in row["decisions"] if decision == "promote"] for row in seeds]
    # Before the drift, and after the promotion that accepted it.
    before = sum(row["first_drift"] - 1 for row in seeds)
    after = sum(row["windows"] - max(at) for row, at in zip(seeds, promoted, strict=True))
    delays = " or ".join(sorted({str(row["detection_delay"]) for row in seeds}))
    gates, promotions = sum(len(row["decisions"]) for row in seeds), sum(map(len, promoted))
    alarms = sum(row["false_alarms"] for row in seeds)
    late = sum(window > max(at) for row, at in zip(seeds, promoted, strict=True) for window, _, _ in row["verdicts"])
    expected = [2 * drift_level_power.ALPHA**2 * windows for windows in (before, after)]
    return (
        f"{len(seeds)} seeds of the default drift: confirmed with its window {delays}; of {gates} retrained models the gate promoted "
        f"{promotions}, the last one of every history. False confirmed alarms: {alarms - late} in the {before} windows before the drift "
        f"(of independent windows 2 alpha^2 each, {expected[0]:.1f}, are to be expected) and {late} in the {after} windows with the "
        f"accepted drift after the last promotion ({expected[1]:.1f}).\n\n"
    )


#: What is shown of a full loop: its field, its title with the run's own goals, and how it is written.
MEASURES = (
    ("baseline", "baseline (goal {baseline})", "{:.3f}"),
    ("optimized", "optimised (goal {optimized})", "{:.3f}"),
    ("served", "ONNX, as served (goal for what INT8 costs: {int8_drop})", "{:.3f}"),
    ("int8_speedup", "INT8 over PyTorch, batch 1, one thread", "{:.1f}x"),
    ("drop", "lost to the drift, on random labels", "{:.2f}"),
    ("verdict", "verdict", "{}"),
    ("decision", "decision", "{}"),
    ("champion_on_drifted", "drifted hold-out: champion", "{:.3f}"),
    ("retrained_on_drifted", "drifted hold-out: retrained", "{:.3f}"),
    ("recovered", "share won back (goal {drift_recovered})", "{:.2f}"),
    ("clean_difference", "clean images: retrained minus champion", "{:+.3f}"),
    ("clean_lower_bound", "clean difference (goal: {clean_non_inferior})", "{:+.3f}"),
    ("targets_met", "targets met", "{0[0]} of {0[1]}"),
    ("seconds", "seconds", "{:.0f}"),
)


def full_loop(result: dict[str, Any]) -> str:
    rows = result["rows"]
    measures = (
        (title.format(**result["goals"]), *(None if row[name] is None else form.format(row[name]) for row in rows))
        for name, title, form in MEASURES
    )
    parts = (
        result.get("note"),
        "\n".join(f"- {row['case']}: `{row['command']}`" for row in rows),
        table(("accuracy on clean test images, unless said otherwise", *(row["case"] for row in rows)), measures),
        second_watches(result["second_watches"]),
    )
    return "\n\n".join(part for part in parts if part)


def second_watches(result: list[dict[str, Any]]) -> str:
    """What the promoted champions' next watch, over new images under the same drift, said."""
    if not result:
        return ""
    cases = ", ".join(case for watch in result for case in watch["cases"])
    verdicts = ", ".join(sorted({watch["verdict"] for watch in result}))
    windows, drifted = (sum(watch[name] for watch in result) for name in ("windows", "drifted"))
    return (
        f"**The same drift again**: new images under it, replayed to the promoted champions of {cases} and watched. Verdicts: {verdicts}; "
        f"{drifted} of {windows} windows alarmed, and two of three in a row are needed to confirm a drift."
    )


def needs(result: dict[str, Any]) -> str:
    rows = ((row["step"], f"{row['peak_mb']:,.0f}", f"{row['cpu_s']:.1f}", f"{row['disk_mb']:,.1f}") for row in result["rows"])
    return f"`driftloop run full-loop {' '.join(result['arguments'])}`\n\n" + table(
        ("step", "peak memory, MB", "processor time, s", "left on disk, MB"), rows
    )


#: The ways to compute, as the columns of the table of latencies.
WAYS = (
    *("PyTorch FP32", "PyTorch bf16", "PyTorch FP16", "torch.compile bf16"),
    *("ONNX FP32, CUDA", "ONNX FP16, CUDA", "ONNX FP32, CPU", "ONNX INT8, CPU"),
)


def on_gpu(result: dict[str, Any]) -> str:
    tables = {
        "training": gpu_training_rows,
        "decoding": gpu_decoding_rows,
        "inference": gpu_latency_rows,
        "changing": gpu_changing_rows,
        "loop": gpu_loop_rows,
    }
    blocks = list(filter(None, [result.get("note")]))
    for part in gpu.PARTS:
        measured = result["parts"].get(part)
        if measured is None:
            blocks.append(f"**{part.capitalize()}**: not measured.")
            continue
        card = f"{measured['card']}, driver {measured['driver']}, CUDA {measured['cuda']}"
        about = f"{card}; {listed(measured['libraries'])}; {measured['date']}"
        blocks += [f"**{part.capitalize()}** ({about})", *filter(None, [measured.get("note")]), tables[part](measured["rows"])]
    return "\n\n".join(blocks)


def gpu_training_rows(rows: list[dict[str, Any]]) -> str:
    """Ours with the images on the GPU, ours from memory, and timm's; then the goals."""
    sides = ("resident", "streamed", "timm")
    header = ("network, side, batch", *(f"images/s, {name}" for name in sides), "ratio", "ratio, streamed")
    more = (*(f"busy, {name}" for name in sides), "MFU", "MFU, timm", "peak MB", "peak MB, timm", "packed in, s")
    written = (
        (
            f"{row['net']}, {row['side']}, {row['batch']}",
            *(f"{row[name]['images_per_second']:,}" for name in sides),
            f"{row['ratio']:.1f}x",
            f"{row['ratio_streamed']:.1f}x",
            *(share_of(row[name]["busy"]) for name in sides),
            *(share_of(row[name]["mfu"]) for name in ("resident", "timm")),
            *(f"{row[name]['peak_memory_mb']:,}" for name in ("resident", "timm")),
            f"{row['packing_s']:.1f}",
        )
        for row in rows
    )
    met = {
        "at_least_the_rate_of_timm_in_every_row": all(min(row["ratio"], row["ratio_streamed"]) >= 1 for row in rows),
        "GPU_busy_95_percent_in_every_row": all((row[name]["busy"] or 0) >= 0.95 for row in rows for name in sides[:2]),
    }
    return table((*header, *more), written) + "\n\n" + goals(met)


def share_of(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f} %"


def gpu_latency_rows(rows: list[dict[str, Any]]) -> str:
    cells: dict[tuple[str, int, int], dict[str, dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["net"], row["side"], row["batch"]), {})[row["variant"]] = row
    written = (
        (
            f"{net}, {side}, {batch}",
            *((f"{found[way]['p50_ms']:.2f} / {found[way]['p95_ms']:.2f}" if way in found else None) for way in WAYS),
            f"{max(row['images_per_second'] for row in found.values()):,.0f}",
        )
        for (net, side, batch), found in cells.items()
    )
    return "Milliseconds a call, p50 / p95, copies to the GPU and back included; onnxruntime on the CPU with all cores.\n\n" + table(
        ("network, side, batch", *WAYS, "most images/s"), written
    )


def gpu_decoding_rows(rows: list[dict[str, Any]]) -> str:
    def rate(measured: dict[str, Any]) -> str:
        return f"{measured['images_per_second']:,} ({measured['least']:,}-{measured['most']:,})"

    written = (
        (
            row["kind"],
            f"{row['images']:,}",
            rate(row["cpu"]),
            rate(row["gpu"]),
            f"{row['gpu']['images_per_second'] / row['cpu']['images_per_second']:.1f}x",
            f"{row['difference']['mean']:.2f}, {row['difference']['largest']:.0f}",
        )
        for row in rows
    )
    header = ("JPEG files", "how many", f"images/s, Pillow, {rows[0]['processes']} processes", "images/s, the GPU's decoder", "ratio")
    return (
        "From bytes in memory to 224 pixels on the GPU. The difference is that of the pixels, of 255: a model that was trained on the one "
        "and asked by the other would see other images.\n\n" + table((*header, "difference, mean and largest"), written)
    )


def gpu_changing_rows(rows: list[dict[str, Any]]) -> str:
    written = ((f"{row['side']}", row["way"], f"{row['p50_ms']:.2f}", f"{row['p95_ms']:.2f}", f"{row['calls']:,}") for row in rows)
    return "Batches whose size changes from call to call, 1 to 32 images, by onnxruntime.\n\n" + table(
        ("px", "way", "p50, ms", "p95, ms", "calls"), written
    )


def gpu_loop_rows(rows: list[dict[str, Any]]) -> str:
    names = ("verdict", "decision", "baseline", "optimized", "served", "champion_on_drifted", "retrained_on_drifted", "recovered")
    trainings = ("baseline-training", "model-optimization", "automated-retraining")
    written = (
        (
            f"`{row['command']}`",
            ", ".join(sorted(set(row["devices"].values()))),
            *(cell(row[name]) for name in names),
            "{0[0]} of {0[1]}".format(row["targets_met"]),
            *(f"{row['steps'][step]:.0f}" if step in row["steps"] else None for step in trainings),
            f"{row['seconds']:.0f}",
        )
        for row in rows
    )
    steps = (f"{step.replace('-', ' ')}, s" for step in trainings)
    return table(("run", "trained on", *(name.replace("_", " ") for name in names), "targets met", *steps, "the whole loop, s"), written)


def cell(value: Any) -> Any:
    return f"{value:.3f}" if isinstance(value, float) else value


SERVERS = ("driftloop serve", "textbook FastAPI + torch", "LitServe", "BentoML")
BARE_ASGI = "bare ASGI: decode and predict"


def service(result: dict[str, Any]) -> str:
    found = {(row["side"], row["server"]): row for row in result["rows"]}
    limit = {side: row["per_second"] for (side, name), row in found.items() if name == "bare loop"}
    loaded = ("full_p50", "full_p95", "full_p99", "alone_p50", "alone_p99")
    rows = (
        (
            side,
            name,
            f"{row['per_second']:.0f}",
            f"{row['slowest']:.0f}-{row['fastest']:.0f}",
            f"{row['per_second'] / limit[side]:.2f}",
            f"{row['cpu_ms']:.2f}",
            *(milliseconds(row.get(key)) for key in loaded),
            row.get("full_failed"),
        )
        for (side, name), row in found.items()
    )
    header = (
        "px",
        "server",
        "answers/s",
        "in the rounds",
        "of the bare loop",
        "processor ms each",
        "p50, ms",
        "p95",
        "p99",
        "alone: p50",
        "alone: p99",
        "failed",
    )
    swaps = (
        (
            row["side"],
            f"{row['per_second']:.0f}",
            row["swaps"],
            row["requests"],
            row["failed"],
            milliseconds(row["steady_p99"]),
            milliseconds(row["during_p99"]),
            f"{row['during_p99'] / row['steady_p99']:.2f}",
        )
        for row in result["swaps"]
    )
    parts = [
        f"{result['connections']} connections, medians of {result['rounds']} rounds of {result['seconds']:.0f} s; alone: one. "
        "The bare loop has no requests: it decodes and predicts, on every core.",
        table(header, rows),
        table(("px", "requests/s", "swaps", "requests", "failed", "p99 away from swaps, ms", "p99 within 3 s of one", "ratio"), swaps),
    ]
    parts += [remembered(row) for row in result["memory"]]
    times = [f"{most / found[side, SERVERS[1]]['per_second']:.1f} times as fast at {side} px" for side, most in limit.items()]
    parts.append(f"Beside the textbook the bare loop, which no server can pass, is {', '.join(times)}.")
    over_http = [
        f"{found[side, BARE_ASGI]['per_second'] / most:.2f} of the bare loop's answers and "
        f"{found[side, BARE_ASGI]['per_second'] / found[side, SERVERS[1]]['per_second']:.1f} times the textbook's at {side} px"
        for side, most in limit.items()
        if (side, BARE_ASGI) in found
    ]
    if over_http:
        parts.append(
            f"Over HTTP, and with the load generator on the same cores, what the bare loop does gives {'; '.join(over_http)}: bare ASGI, "
            "uvicorn around it and nothing else, an image at a time, without checks, statistics or log."
        )
    if result["soak"]:
        parts.append(soaked(result["soak"]))
    return "\n\n".join([*parts, goals(service_goals(result, found, limit))])


def service_goals(result: dict[str, Any], found: dict[tuple[int, str], dict[str, Any]], limit: dict[int, float]) -> dict[str, bool | None]:
    met: dict[str, bool | None] = {}
    ours, textbook, *others = SERVERS
    met |= {f"memory flat over {row['swaps']} swaps at {row['side']} px": is_flat(row["resident_mib"]) for row in result["memory"]}
    for side, most in limit.items():
        speed = found[side, ours]["per_second"]
        met[f"5x the textbook at {side} px"] = speed >= 5 * found[side, textbook]["per_second"]
        met[f"0.7 of the bare loop at {side} px"] = speed >= 0.7 * most
        for rival in others:
            if (side, rival) in found:
                met[f"ahead of {rival} at {side} px"] = speed > found[side, rival]["per_second"]
    for row in result["swaps"]:
        met[f"swap at {row['side']} px: no error, p99 within 1.2x"] = not row["failed"] and row["during_p99"] <= 1.2 * row["steady_p99"]
    if result["soak"]:
        met |= soak_goals(result["soak"])
    return met


def soak_goals(soak: dict[str, Any]) -> dict[str, bool | None]:
    once = not soak["logged_twice"] and soak["answered"] == soak["logged"]
    return {"soak: no error, every request logged once": once and not soak["failed"]}


def is_flat(resident: list[float]) -> bool:
    """Whether the median of the last fifth is within 5 % of that of the second: the first swaps fill what the allocator then keeps."""
    fifth = len(resident) // 5
    return median(resident[-fifth:]) <= 1.05 * median(resident[fifth : 2 * fifth])


def remembered(row: dict[str, Any]) -> str:
    resident = row["resident_mib"]
    steps = ", ".join(f"{resident[at - 1]:.0f} after {at}" for at in (1, 5, 10, 20, 30, 40, len(resident)) if at <= len(resident))
    begin = min(10, len(resident) // 5)
    slope = linear_regression(range(len(resident) - begin), resident[begin:]).slope
    return f"Resident memory over swaps at {row['side']} px, MiB, all processes: {steps}; from {begin} on {slope:+.1f} a swap."


def soaked(soak: dict[str, Any]) -> str:
    return (
        f"Soak: {soak['seconds']:.0f} s at {soak['per_second']:.0f} requests/s, the store away for {soak['away_seconds']:.0f} s of them. "
        f"{soak['requests']:,} requests, {soak['failed']} failed. In the life of this service {soak['answered']:,} were answered and "
        f"{soak['logged']:,} logged, {soak['logged_twice']} of them twice. Resident memory: {soak['resident_mib_first_quarter']:.0f} MiB "
        f"in the first quarter, {soak['resident_mib_last_quarter']:.0f} MiB in the last."
    )


def situations(result: dict[str, Any]) -> str:
    parts = ["Goals stand at the head of their column; a star marks one that is missed by more than sampling error."]
    for name, measured in result["tables"].items():
        command = f"`python -m bench.gate_situations {name} --repeats {measured['repeats']} --seed {measured['seed']}`"
        parts.append(f"**{measured['title']}** ({command}, {measured['date']}, {measured['seconds']} s)")
        parts.append("\n".join(measured["lines"]))
    return "\n\n".join(parts)


def milliseconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"


def noticed(result: dict[str, Any]) -> str:
    rows = [
        (
            f"`{row['file']}`",
            row["behaviour"],
            row["noticed"],
            f"{100 * row['noticed'] // max(row['behaviour'], 1)}%",  # not rounded up: 100 % are all of them
            len(row["accepted"]),
            row["words"],
        )
        for row in result["files"]
    ]
    header = ("file", "faults that change behaviour", "noticed", "share", "found to change nothing, with a reason", "of words only")
    met = {f"{row['file'].rpartition('/')[2]} 90 %": row["noticed"] >= 0.9 * row["behaviour"] for row in result["files"]}
    lists = [
        f"Not noticed in `{row['file']}`:\n\n" + "\n".join(f"- `{fault.replace('`', chr(39))}`" for fault in row["survivors"])
        for row in result["files"]
        if row["survivors"]
    ]
    said = "Rows are of files as they were, by the hash in the results; `make mutants ARGS=--stale` counts those that changed since."
    return "\n\n".join([said, table(header, rows), goals(met), *lists])


def harm(result: dict[str, Any]) -> str:
    until = harm_over_time.windows_until
    levels, few = (
        [
            (cell["clean"], f"{cell['images']:,}", cell["labels"], f"{cell['false_retrain']:.3f}", f"{cell['false_harmless']:.3f}")
            for cell in result[name]
        ]
        for name in ("levels", "few")
    )
    columns = ("clean accuracy", "known from images", "labels a window", "any false `retrain`", "any false harmless")
    delays = [(f"{100 * row['drop']:.0f} points, harm", row["labels"], until(row)) for row in result["delays"]]
    delays += [("none, harmless", row["labels"], until(row)) for row in result["calm"]]
    growing = [
        (row["after"], row["labels"], until(row), f"{100 * row['missed']:.1f}", f"{100 * row['most']:.0f}") for row in result["growing"]
    ]
    return "\n\n".join(
        (
            f"{result['histories']:,} histories a cell of {result['windows']} windows, one a day, a look at each. A drift errs once or "
            "not at all: that any of the looks says `retrain` where accuracy has not changed, or harmless where it lost 5 points.",
            table(columns, levels),
            f"Where groups are fewer than `harm_labels`, harm is judged from {harm_over_time.FEWEST_LABELS} "
            f"labels on ({result['few'][0]['count']:,} histories a cell):",
            table(columns, few),
            goals(result["goals"]),
            "Windows until it is shown, at clean accuracy .914 known from 1,500 images:",
            table(("drop, shown", "labels a window", "median / 80th percentile"), delays),
            "A drift that loses a point a window, at once or on top of a harmless one:",
            table(
                ("harmless windows before", "labels a window", "windows until `retrain`", "largest drop while harmless: mean", "most"),
                growing,
            ),
        )
    )


Render = Callable[[dict[str, Any]], str]
SECTIONS: dict[str, tuple[str, Any, Render]] = {
    "full_loop_seeds": ("The full loop, by seed", full_loop_seeds, full_loop),
    "drift_level_power": ("Drift: level and power", drift_level_power, level_power),
    "alarm_budget": ("Drift: the alarm budget from the first window on", alarm_budget, alarm_budget.table),
    "weak_drifts": ("Drift: weak ones, and windows taken together", weak_drifts, weak_drifts.table),
    "reference_size": ("Drift: the reference's size, and tags", reference_size, reference_size.table),
    "clustered_windows": ("Drift: few, large groups", clustered_windows, clustered_windows.table),
    "accepted_regime": ("Drift: what a retraining accepts", accepted_regime, accepted_regime.table),
    "drift_speed": ("Drift: speed", drift_speed, speed),
    "drift_beside_alibi": ("Drift: beside alibi-detect", drift_beside_alibi, beside_alibi),
    "drift_beside_others": (
        "Drift: false alarms and power beside Evidently and alibi-detect",
        drift_beside_others,
        drift_beside_others.table,
    ),
    "drift_teaching": ("Drift: the course's detectors", drift_teaching, teaching),
    "gate_error_rates": ("Gate: error rates", gate_error_rates, gate),
    "gate_situations": ("Gate: patients, classes, traffic", gate_situations, situations),
    "grouped_accuracy": ("An accuracy by patients", grouped_accuracy, grouped_accuracy.table),
    "harm_over_time": ("Harm: over a whole drift", harm_over_time, harm),
    "subgroups": ("Harm: of a tenth of the traffic", subgroups, subgroups.table),
    "harm_of_groups": ("Harm: patients and lots", harm_of_groups, harm_of_groups.table),
    "accepted_noise": ("Harm: of a drift that was accepted", accepted_noise, accepted_noise.table),
    "rare_classes": ("Harm: rare classes", rare_classes, rare_classes.table),
    "policy_world": ("The policy, over thousands of histories", policy_world, policy_tables.table),
    "ingest": ("Reading photographs", ingest, ingest.table),
    "ingest_shards": ("Reading by shards", ingest_shards, ingest_shards.table),
    "dataset_size": ("Data: memory and disk by size", dataset_size, dataset_size.table),
    "audit_size": ("Data: the audit by size", audit_size, audit_size.table),
    "retraining_recovery": ("Retraining: what is won back", retraining_recovery, recovery),
    "photographs": ("Real photographs", photographs, photographs.table),
    "real_drift": ("A real drift", real_drift, real_drift.table),
    "real_drift_all": ("A real drift, all layers trained", real_drift, real_drift.table),
    "recipes": ("Ways to train, by source", recipes, recipes.table),
    "latency_limit": ("A search under a limit of latency", latency_limit, latency_limit.table),
    "augmentation": ("Views: crops, RandAugment, CutMix", augmentation, augmentation.table),
    "privacy": ("Training with differential privacy", privacy, privacy.table),
    "imbalance": ("Few of one class", imbalance, imbalance.table),
    "label_errors": ("Labels that are wrong", label_errors, label_errors.table),
    "killed_trainings": ("Killed trainings", killed_trainings, killed_trainings.table),
    "on_cpu": ("On a CPU", on_cpu, on_cpu.table),
    "gpu": ("On a GPU", gpu, on_gpu),
    "serving": ("The service", serving, service),
    "serving_profile": ("What limits the service", serving_profile, serving_profile.table),
    "serving_soak": ("The service on a MinIO that is killed", serving_soak, lambda row: f"{soaked(row)}\n\n{goals(soak_goals(row))}"),
    "step_needs": ("The steps' needs", step_needs, needs),
    "rehearsals": ("The policy, rehearsed", rehearsals, played),
    "policies_rehearsed": ("Three policies, rehearsed", policies_rehearsed, policies_rehearsed.table),
    "mutants": ("Faults that the tests notice", mutants, noticed),
}


if __name__ == "__main__":
    sys.exit(main())
