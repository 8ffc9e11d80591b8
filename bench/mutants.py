"""How many small faults the tests notice in the code that decides: mutmut puts them in one at a time, and runs the tests that reach them.

    python -m bench.mutants [--only criteria policy] [--stale] [--out bench/results/mutants.json]

`make mutants` installs what it needs and runs it; it takes hours, and is for the night, `--stale` counting those files alone whose text has
changed since. A fault that changes only the words of a message does not count. Those that the tests did not notice are listed;
`mutants_accepted.toml` says why one of them changes no behaviour.
"""

import argparse
import ast
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from bench.gate_error_rates import environment
from driftloop import errors
from driftloop.bundle import sha256_file

ROOT, HERE = Path(__file__).parents[1], Path(__file__).parent
ACCEPTED = HERE / "mutants_accepted.toml"
#: For tests on stores of both kinds, where the local one tells the same.
LOCAL = " -k 'not s3'"
#: Simulations of levels and of draws, which take long and notice little that the rest does not.
ONCE = " -k 'not one_time_in_twenty and not number_of_its_classes and not default_sizes and not policy_waits_for'"
NO_DRAWS = " -k 'not within_the_class and not is_what_it_says'"
DRIFT, VALIDATION = "tests/unit/drift_detection/test", "tests/unit/validation_gate/test"
NO_WINDOWS = " -k 'not four_seasons and not its_level and not about_the_level and not is_found and not says_against'"
REGISTRY, PRUNING, STORE = "tests/unit/registry/test", "tests/unit/housekeeping/test", "tests/unit/store/test"
#: By file the tests of its room, as words for pytest; of those mutmut runs the ones that reach the function in question.
DECIDING = {
    "components/drift_detection/acceptance.py": f"{DRIFT}_acceptance.py",
    "components/drift_detection/clusters.py": f"{DRIFT}_clusters.py" + " -k 'not reach_into'",
    "components/drift_detection/detectors.py": f"{DRIFT}_built_in_detectors.py",
    "components/drift_detection/harm.py": f"{DRIFT}_harm.py",
    "components/drift_detection/judged_harm.py": f"{DRIFT}_judged_harm.py {DRIFT}_label_requests.py" + NO_DRAWS,
    "components/drift_detection/kept_rows.py": f"{DRIFT}_kept_rows.py",
    "components/drift_detection/ks.py": f"{DRIFT}_ks.py {DRIFT}_explaining_detectors.py",
    "components/drift_detection/label_requests.py": f"{DRIFT}_label_requests.py" + NO_DRAWS,
    "components/drift_detection/label_tallies.py": f"{DRIFT}_label_tallies.py {DRIFT}_judged_harm.py",
    "components/drift_detection/mmd.py": f"{DRIFT}_mmd.py",
    "components/drift_detection/policy.py": f"{DRIFT}_policy.py",
    "components/drift_detection/pooled.py": f"{DRIFT}_pooled.py",
    "components/drift_detection/recalls.py": f"{DRIFT}_recalls.py",
    "components/drift_detection/reference.py": f"{DRIFT}_reference.py {DRIFT}_regimes.py" + NO_WINDOWS,
    "components/drift_detection/tagged_harm.py": f"{DRIFT}_tagged_harm.py",
    "components/drift_detection/tags.py": f"{DRIFT}_tag_levels.py",
    "components/drift_detection/unlabelled.py": f"{DRIFT}_unlabelled.py",
    "components/drift_detection/window_test.py": f"{DRIFT}_window_test.py {DRIFT}_clusters.py",
    "components/drift_detection/windows.py": f"{DRIFT}_windows.py {DRIFT}_confirm.py {DRIFT}_pooled.py"
    + " -k 'not found_in_eight and not odd_one and not reach_into and not reference_has'",
    "components/production_monitoring/collect.py": "tests/unit/production_monitoring",
    "components/validation_gate/answers.py": f"{VALIDATION}_answers.py",
    "components/validation_gate/class_criterion.py": f"{VALIDATION}_decision.py {VALIDATION}_critical_classes.py" + ONCE,
    "components/validation_gate/criteria.py": f"{VALIDATION}_criteria.py {VALIDATION}_critical_classes.py",
    "components/validation_gate/decision.py": f"{VALIDATION}_decision.py {VALIDATION}_critical_classes.py {VALIDATION}_traffic_rule.py"
    + ONCE,
    "components/validation_gate/latency.py": f"{VALIDATION}_latency.py",
    "components/validation_gate/measurements.py": f"{VALIDATION}_step.py",
    "components/validation_gate/opponents.py": f"{VALIDATION}_opponents.py {VALIDATION}_step.py",
    "components/validation_gate/recognised.py": f"{VALIDATION}_recognised.py {VALIDATION}_critical_classes.py",
    "components/validation_gate/slices.py": f"{VALIDATION}_slices.py" + ONCE,
    "components/validation_gate/traffic_rule.py": f"{VALIDATION}_traffic_rule.py" + ONCE,
    "driftloop/accepted_drifts.py": "tests/unit/test_accepted_drifts.py",
    "driftloop/dataset/roles.py": "tests/unit/dataset/test_roles.py",
    "driftloop/dataset/splitting.py": "tests/unit/dataset/test_splitting.py",
    "driftloop/drifts.py": f"{DRIFT}_confirm.py",
    "driftloop/evaluation/clustered.py": "tests/unit/evaluation/test_clustered.py tests/unit/evaluation/test_grouped_share.py"
    + " -k 'not 95_percent'",
    "driftloop/evaluation/intervals.py": "tests/unit/evaluation",
    "driftloop/evaluation/paired.py": "tests/unit/evaluation/test_paired.py" + ONCE,
    "driftloop/housekeeping/pruning.py": f"{PRUNING}_pruning.py {PRUNING}_prune_marks.py" + LOCAL,
    "driftloop/housekeeping/run_artifacts.py": f"{PRUNING}_run_artifacts.py" + LOCAL,
    "driftloop/prune_marks.py": f"{PRUNING}_prune_marks.py {PRUNING}_pruning.py" + LOCAL,
    "driftloop/registry/bundle_link.py": f"{REGISTRY}_bundle_link.py" + LOCAL,
    "driftloop/registry/champion.py": f"{REGISTRY}_champion.py {REGISTRY}_hold.py {REGISTRY}_restoring.py {REGISTRY}_pruned_meanwhile.py"
    + LOCAL,
    "driftloop/registry/gate_evidence.py": f"{REGISTRY}_gate_evidence.py" + LOCAL,
    "driftloop/registry/restoring.py": f"{REGISTRY}_restoring.py {REGISTRY}_pruned_meanwhile.py" + LOCAL,
    "driftloop/registry/versions.py": f"{REGISTRY}_versions.py {REGISTRY}_hold.py {REGISTRY}_pruned_meanwhile.py" + LOCAL,
    "driftloop/store/local.py": "tests/unit/store -k '(local or disk) and not process and not s3'",
    "driftloop/store/s3.py": f"{STORE}_contract.py {STORE}_s3_answers.py {STORE}_s3_conditions.py {STORE}_s3_faults.py"
    + " -k 's3 and not memory'",
    "driftloop/store/s3_conditions.py": f"{STORE}_s3_proof.py {STORE}_s3_conditions.py",
    "driftloop/store/s3_faults.py": f"{STORE}_s3_explained_faults.py",
    "driftloop/watch_record.py": "tests/unit/test_watch_record.py tests/unit/test_watch_store.py" + LOCAL,
    "driftloop/watch_store.py": "tests/unit/test_watch_store.py" + LOCAL,
}
#: What the tests of these rooms read beside the code.
COPIED = ("components", "driftloop", "pipelines", "tests", "bench", "requirements", "docker", "k8s", "docs", "README.md")
#: pytest's exit status where a test failed, and mutmut's for one that took too long or crashed: the fault was noticed.
SURVIVED, NOT_REACHED = (0,), (5, 33)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="parts of file names")
    parser.add_argument("--stale", action="store_true", help="only files that have changed since they were counted, or never were")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "mutants.json", help="files that are not counted keep their rows")
    chosen = parser.parse_args()
    files = {name: tests for name, tests in DECIDING.items() if not chosen.only or any(part in name for part in chosen.only)}
    if not files:
        print(f"--only {' '.join(chosen.only)}: no such file among {', '.join(DECIDING)}", file=sys.stderr)
        return 2
    kept = json.loads(chosen.out.read_text())["files"] if chosen.out.exists() else []
    if chosen.stale:
        counted = {row["file"]: row["sha256"] for row in kept}
        files = {name: tests for name, tests in files.items() if counted.get(name) != sha256_file(ROOT / name)}
        print(f"{len(files)} of {len(DECIDING)} files to count: {', '.join(files) or 'none'}", flush=True)
    for name, tests in files.items():
        # Each by itself: mutmut's first run then learns from that room's tests alone, and one that fails costs one file.
        with tempfile.TemporaryDirectory(prefix="driftloop-mutants-") as temporary:
            row = mutate(Path(temporary, "tree"), name, tests)
        print(
            f"{name}: {row['noticed']} of {row['behaviour']} noticed, {len(row['accepted'])} accepted, {row['words']} of words only",
            flush=True,
        )
        kept = sorted([row, *(old for old in kept if old["file"] != name)], key=lambda old: str(old["file"]))
        chosen.out.write_text(json.dumps(environment() | {"files": kept}, indent=1) + "\n")
    return 0


def mutate(tree: Path, name: str, tests: str) -> dict[str, Any]:
    """Every fault that mutmut knows in one file, in a copy of the working tree."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for path in filter(None, tracked):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_file():
            shutil.copy2(ROOT / path, tree / path)
    with open(tree / "pyproject.toml", "a") as stream:
        stream.write(f"\n[tool.mutmut]\nsource_paths = {json.dumps([name])}\n")
        stream.write(f"pytest_add_cli_args_test_selection = {json.dumps(shlex.split(tests))}\n")
        # mutmut forks for each fault, and sees what its own process runs: no workers of xdist.
        stream.write('pytest_add_cli_args = ["-n0"]\n')
        stream.write(f"also_copy = {json.dumps(list(COPIED))}\n")
    ran = subprocess.run([sys.executable, "-m", "mutmut", "run"], cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    made = tree / "mutants" / name
    meta = Path(f"{made}.meta")
    outcomes = json.loads(meta.read_text())["exit_code_by_key"] if meta.exists() else {"": None}
    if None in outcomes.values():
        raise RuntimeError(f"{name}: mutmut stopped before its end: {ran.stdout[-2000:]}")
    functions = {node.name: node for node in ast.walk(ast.parse(made.read_text())) if isinstance(node, ast.FunctionDef)}
    reasons = tomllib.loads(ACCEPTED.read_text()).get(name, {}) if ACCEPTED.exists() else {}
    counts = dict.fromkeys(("behaviour", "noticed", "words"), 0)
    row: dict[str, Any] = {"file": name, "sha256": sha256_file(tree / name), **counts, "accepted": [], "survivors": []}
    for key, status in outcomes.items():
        changed = functions[key.rpartition(".")[2]]
        original = functions[changed.name.rpartition("__mutmut_")[0] + "__mutmut_orig"]
        fault = difference(original, changed)
        if without_words(original) == without_words(changed):
            row["words"] += 1
        elif status in SURVIVED + NOT_REACHED and fault in reasons:
            row["accepted"].append({"fault": fault, "reason": reasons[fault]})
        else:
            row["behaviour"] += 1
            row["noticed"] += status not in SURVIVED + NOT_REACHED
            if status in SURVIVED + NOT_REACHED:
                row["survivors"].append(fault)
    return row


def difference(original: ast.FunctionDef, changed: ast.FunctionDef) -> str:
    """The first line that differs, before and after, as Python writes it: `name: before -> after`."""
    lines = [ast.unparse(nameless(function)).splitlines() for function in (original, changed)]
    pairs = [(before.strip(), after.strip()) for before, after in zip(*lines, strict=False) if before != after]
    before, after = pairs[0] if pairs else ("", "(a line less or more)")
    name = original.name.removesuffix("__mutmut_orig").removeprefix("x_").removeprefix("x\u01c1").replace("\u01c1", ".")
    return f"{name}: {before} -> {after}"


def nameless(function: ast.FunctionDef) -> ast.FunctionDef:
    """A copy of the function by another name, as mutmut gives each of its own."""
    copy = ast.parse(ast.unparse(function)).body[0]
    assert isinstance(copy, ast.FunctionDef)
    copy.name = "f"
    return copy


def without_words(function: ast.FunctionDef) -> str:
    """The function without its sentences, and without what exceptions are made of; keys and names that it compares with stay."""

    class Silent(ast.NodeTransformer):
        def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
            sentence = any(isinstance(part, ast.Constant) and " " in str(part.value) for part in node.values)
            return ast.Constant("") if sentence else self.generic_visit(node)

        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            return ast.Constant("") if isinstance(node.value, str) and " " in node.value else node

        def visit_Call(self, node: ast.Call) -> ast.AST:
            if isinstance(node.func, ast.Name) and node.func.id in vars(errors):
                return node.func
            return self.generic_visit(node)

        def visit_Raise(self, node: ast.Raise) -> ast.AST:
            kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            return ast.Raise(kind, None)

    return ast.dump(Silent().visit(nameless(function)))


if __name__ == "__main__":
    sys.exit(main())
