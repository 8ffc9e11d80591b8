"""The service beside a textbook handler, LitServe, BentoML and the bare loop; a swap under load; a soak with the store away.

    python -m bench.serving [--sides 64 224] [--rounds 3] [--seconds 10] [--swaps 50] [--soak 600] [--out bench/results/serving.json]

Needs `hey` (Debian: apt install hey). LitServe and BentoML run in environments of their own, which are made below a temporary folder
by uv from the package index. All take the same JPEG of twice the model's side as the body of a POST (LitServe in a form: it knows no
other files), over loopback, one after the other on an otherwise idle machine, for several rounds, of which the table has the medians;
the load generator shares the cores. Processor time is that of the server's processes. Bare ASGI is uvicorn alone around what the bare
loop does, an image at a time: what HTTP and the load generator leave of it. The last rows are ours again: in one process,
without batches, and with the pixels as tensors of the Open Inference Protocol, which need no decoding, over HTTP and over gRPC. For gRPC
the load comes from `ghz` (go install github.com/bojand/ghz/cmd/ghz@v0.120.0); where it is not there, that row is left out, and said.
"""

import argparse
import csv
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from PIL import Image

from bench.gate_error_rates import environment
from bench.serving_store import promote_new_version, smooth_noise
from driftloop import bundle, registry
from driftloop.contracts import MODEL_NAME
from driftloop.dataset.decoding import decode_image
from driftloop.inference.served_model import INPUT, ServedModel
from driftloop.serving.grpc_messages import MESSAGES, PACKAGE, SERVICE, file_descriptor
from driftloop.store import Store, open_store

RIVALS = Path(__file__).parent / "serving_rivals"
PORT, GRPC_PORT = 18080, 18081
RIVAL_PACKAGES = {"LitServe": ["litserve==0.2.19", "python-multipart"], "BentoML": ["bentoml==1.4.40"]}
TICKS = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--swaps", type=int, default=50, help="over which memory is watched; 0 leaves it out")
    parser.add_argument("--soak", type=float, default=600.0, help="seconds; 0 leaves it out")
    out = Path(__file__).parent / "results" / "serving.json"
    parser.add_argument("--out", type=Path, default=out, help="what is left out stays there, if it is of the same day")
    chosen = parser.parse_args()
    if not shutil.which("hey"):
        print("bench.serving needs the load generator hey: apt install hey", file=sys.stderr)
        return 2
    report: dict[str, Any] = environment() | {"connections": CONNECTIONS, "seconds": chosen.seconds, "rounds": chosen.rounds}
    kept = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    kept = kept if kept.get("date") == report["date"] else {}
    report |= {name: [row for row in kept.get(name, []) if row["side"] not in chosen.sides] for name in ("rows", "swaps")}
    report |= {"memory": kept.get("memory", []), "soak": kept.get("soak")}
    with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as temporary:
        folder = Path(temporary)
        rivals = environments(folder)
        report["other"] = {name.lower(): packages[0].partition("==")[2] for name, packages in RIVAL_PACKAGES.items() if name in rivals}
        for side in chosen.sides:
            work = folder / str(side)
            work.mkdir()
            store = open_store(str(work / "store"))
            promote_new_version(store, side, expected=None)
            registry.download(store, "1", work / "bundle")
            rounds = [compare(work, side, rivals, chosen.seconds) for _ in range(chosen.rounds)]
            report["rows"] += middle(rounds)
            report["swaps"].append(swap(work, side, max(30.0, chosen.seconds)))
            if chosen.swaps and side == chosen.sides[-1]:
                report["memory"] = [memory_over_swaps(work, side, chosen.swaps)]
        if chosen.soak:
            report["soak"] = soak_with_folder(folder / str(chosen.sides[0]), chosen.soak)
    for name in ("rows", "swaps"):
        report[name].sort(key=lambda row: row["side"])
    chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def environments(folder: Path) -> dict[str, Path]:
    """A Python for each rival, with onnxruntime and Pillow as ours; those that cannot be had are left out, and said."""
    made = {}
    uv = Path(sys.executable).with_name("uv")
    import onnxruntime
    import PIL

    ours = [f"onnxruntime=={onnxruntime.__version__}", f"pillow=={PIL.__version__}", f"numpy=={np.__version__}"]
    for name, packages in RIVAL_PACKAGES.items():
        home = folder / f"env-{name}"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", home / "bin" / "python", *packages, *ours]
        if subprocess.run(install).returncode == 0:
            made[name] = home / "bin" / "python"
        else:
            print(f"{name}: cannot be installed here; left out", file=sys.stderr)
    return made


@dataclass(frozen=True)
class Kind:
    """What a caller sends."""

    type: str
    body: str
    """A file of the work folder."""
    path: str = "/predict"
    header: str = ""


JPEG, FORM = Kind("image/jpeg", "image.jpg"), Kind("multipart/form-data; boundary=bench", "image.form")
GRPC = Kind("application/grpc", "tensor.pb", f"{PACKAGE}.{SERVICE}/ModelInfer")
#: The protocol of GRPC, as `ghz` takes it.
PROTOCOL = "protocol.protoset"


def write_bodies(work: Path, side: int) -> tuple[Kind, Kind]:
    """The JPEG, alone and in a form, and its pixels in the forms of the Open Inference Protocol."""
    path = work / JPEG.body
    Image.fromarray(smooth_noise(1, 2 * side, seed=3)[0, ..., 0]).save(path, "JPEG", quality=90)
    head = b'--bench\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    (work / FORM.body).write_bytes(head + path.read_bytes() + b"\r\n--bench--\r\n")
    pixels = decode_image(path.read_bytes(), side).pixels
    tensor = {"name": INPUT, "shape": [1, side, side, 1], "datatype": "UINT8"}
    (work / "tensor.json").write_text(json.dumps({"inputs": [tensor | {"data": pixels.ravel().tolist()}]}))
    described = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": pixels.size}}]}).encode()
    (work / "tensor.bin").write_bytes(described + pixels.tobytes())
    by_grpc = MESSAGES["ModelInferRequest"](model_name=MODEL_NAME, inputs=[tensor], raw_input_contents=[pixels.tobytes()])
    (work / GRPC.body).write_bytes(by_grpc.SerializeToString())
    (work / PROTOCOL).write_bytes(FileDescriptorSet(file=[file_descriptor()]).SerializeToString())
    infer = f"/v2/models/{MODEL_NAME}/infer"
    in_json = Kind("application/json", "tensor.json", infer)
    return in_json, Kind("application/octet-stream", "tensor.bin", infer, f"Inference-Header-Content-Length: {len(described)}")


def compare(work: Path, side: int, rivals: dict[str, Path], seconds: float) -> list[dict[str, Any]]:
    """Requests a second of each, at full load and from one caller."""
    given = {**os.environ, "BENCH_SIDE": str(side), "BENCH_MODEL": str(work / "bundle" / bundle.ONNX_INT8), "PYTHONPATH": str(RIVALS)}
    in_json, binary = write_bodies(work, side)
    own, textbook = dict(os.environ), [sys.executable, "-m", "bench.serving_rivals.textbook", PORT]
    bare = [sys.executable, "-m", "bench.serving_rivals.bare_asgi", PORT]
    servers: list[tuple[str, list[Any], dict[str, str], Path | None, Kind]] = [
        ("driftloop serve", ours(work), own, None, JPEG),
        ("bare ASGI: decode and predict", bare, {**given, "PYTHONPATH": "."}, None, JPEG),
        ("textbook FastAPI + torch", textbook, {**given, "PYTHONPATH": "."}, None, JPEG),
    ]
    if "LitServe" in rivals:
        servers.append(("LitServe", [rivals["LitServe"], RIVALS / "litserve_server.py", PORT], given, None, FORM))
    if "BentoML" in rivals:
        command = [rivals["BentoML"].with_name("bentoml"), "serve", "bento_server:Classifier", "--port", PORT, "--host", "127.0.0.1"]
        servers.append(("BentoML", command, {**given, "BENTOML_DO_NOT_TRACK": "1", "BENTOML_HOME": str(work / "bentoml")}, RIVALS, JPEG))
    servers += [
        ("driftloop serve --processes 1", ours(work, "--processes", "1"), own, None, JPEG),
        ("driftloop serve --batch 1", ours(work, "--batch", "1"), own, None, JPEG),
        ("driftloop serve, JSON tensors", ours(work), own, None, in_json),
        ("driftloop serve, binary tensors", ours(work), own, None, binary),
    ]
    if shutil.which("ghz"):
        servers.append(("driftloop serve, binary tensors by gRPC", ours(work, "--grpc-port", str(GRPC_PORT)), own, None, GRPC))
    else:
        print("gRPC: left out, as its load generator ghz is not there", file=sys.stderr)
    rows = [bare_loop(work, side, seconds)]
    for name, command, variables, directory, kind in servers:
        with server(command, variables, directory) as process:
            load(work, 2, CONNECTIONS, kind)
            before = processor_seconds(process.pid)
            full = load(work, seconds, CONNECTIONS, kind)
            spent = processor_seconds(process.pid) - before
            alone = load(work, seconds / 2, 1, kind)
        if not full["answers"]:
            print(f"{name}: answered none of {full['failed']} requests; left out", file=sys.stderr)
            continue
        row = {"side": side, "server": name, "per_second": full["per_second"], "cpu_ms": 1000 * spent / max(full["answers"], 1)}
        row |= {f"full_{key}": full[key] for key in ("p50", "p95", "p99", "failed")} | {
            f"alone_{key}": alone[key] for key in ("p50", "p95", "p99")
        }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def middle(rounds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """By server the median of each figure over the rounds, the spread of its speed, and all failures together."""
    rows = []
    for name in dict.fromkeys(row["server"] for rows in rounds for row in rows):
        of = [row for rows in rounds for row in rows if row["server"] == name]
        row: dict[str, Any] = {key: float(np.median([each[key] for each in of])) for key in of[0] if key not in ("side", "server")}
        row |= {"side": of[0]["side"], "server": name, "slowest": min(each["per_second"] for each in of)}
        row |= {"fastest": max(each["per_second"] for each in of)}
        if "full_failed" in row:
            row["full_failed"] = sum(each["full_failed"] for each in of)
        rows.append(row)
    return rows


def ours(work: Path, *options: str, store: str = "") -> list[Any]:
    serve = [sys.executable, "-m", "driftloop.cli.main", "serve", "--store", store or work / "store", "--port", PORT]
    return [*serve, "--spool", work / "spool", "--poll", "0.5", *options]


def bare_loop(work: Path, side: int, seconds: float) -> dict[str, Any]:
    """The limit: a thread on each core that decodes and predicts, and nothing else."""
    model = ServedModel.open(work / "bundle", threads=1)
    data = (work / "image.jpg").read_bytes()
    stop, counts = time.monotonic() + seconds, [0] * (os.cpu_count() or 1)

    def run(at: int) -> None:
        while time.monotonic() < stop:
            model.predict(decode_image(data, side).pixels[None, ..., None])
            counts[at] += 1

    before = resource.getrusage(resource.RUSAGE_SELF)
    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row = {"side": side, "server": "bare loop", "per_second": sum(counts) / seconds, "cpu_ms": 1000 * spent / sum(counts)}
    print(json.dumps(row), flush=True)
    return row


def swap(work: Path, side: int, seconds: float) -> dict[str, Any]:
    """Latencies at 80 % of what the service can do, in the seconds around each of a few promotions and away from them."""
    store = open_store(str(work / "store"))
    moments: list[float] = []
    with server(ours(work), dict(os.environ), None) as process:
        load(work, 2, CONNECTIONS)
        rate = 0.8 * load(work, 5, CONNECTIONS)["per_second"]
        # Registered beforehand: making a version takes the cores that the service needs.
        versions = ["1"]
        for seed in (1, 2):
            versions.append(promote_new_version(store, side, expected=versions[-1], seed=seed))
        versions = versions[1:]
        time.sleep(3)
        begun = time.monotonic()

        def move() -> None:
            for at in range(4):
                time.sleep(seconds / 5)
                champion = registry.current(store)
                assert champion is not None
                other = versions[at % 2] if champion.version != versions[at % 2] else versions[(at + 1) % 2]
                moments.append(time.monotonic() - begun)
                registry.promote(store, other, expected=champion.version, reason="benchmark", by_person=True)

        mover = threading.Thread(target=move)
        mover.start()
        table = latencies(work, seconds, CONNECTIONS, rate)
        mover.join()
        swaps = json.loads(fetch(f"http://127.0.0.1:{PORT}/activity"))["swaps"]
        memory = resident_mib(process.pid)
    near = np.zeros(len(table), bool)
    for moment in moments:
        # From the move of the pointer until its successor is found, loaded and has taken over: the poll is half a second.
        near |= table["offset"].between(moment, moment + 3).to_numpy()
    steady, during = table.loc[~near, "seconds"], table.loc[near, "seconds"]
    row = {
        "side": side,
        "per_second": rate,
        "swaps": swaps,
        "requests": len(table),
        "failed": int((table["status"] != 200).sum()),
        "steady_p99": float(1000 * steady.quantile(0.99)),
        "during_p99": float(1000 * during.quantile(0.99)),
        "resident_mib": memory,
    }
    print(json.dumps(row), flush=True)
    return row


def memory_over_swaps(work: Path, side: int, swaps: int) -> dict[str, Any]:
    """Resident memory of the service, all its processes, from swap to swap between two versions under light load."""
    store = open_store(str(work / "store"))
    resident: list[float] = []
    with server(ours(work), dict(os.environ), None) as process:
        load(work, 2, CONNECTIONS)
        for at in range(swaps):
            champion = registry.current(store)
            assert champion is not None
            other = "2" if champion.version == "3" else "3"
            registry.promote(store, other, expected=champion.version, reason="benchmark", by_person=True)
            until = time.monotonic() + 60
            while json.loads(fetch(f"http://127.0.0.1:{PORT}/activity"))["swaps"] <= at:
                if time.monotonic() > until:
                    raise RuntimeError(f"swap {at + 1} did not happen")
                load(work, 0.5, 2)
            resident.append(resident_mib(process.pid))
    row = {"side": side, "swaps": swaps, "resident_mib": resident}
    print(json.dumps(row), flush=True)
    return row


def soak_with_folder(work: Path, seconds: float) -> dict[str, Any]:
    """A soak whose store, a folder, is away for a tenth of it in the middle (at most a minute)."""
    store = open_store(str(work / "store"))
    logs, hidden = Path(store.uri, "logs"), Path(store.uri, "logs-away")

    def hide() -> None:
        logs.rename(hidden)
        logs.write_bytes(b"")  # whatever is written there fails now

    def show() -> None:
        logs.unlink()
        hidden.rename(logs)

    return soak(work, store, ours(work), dict(os.environ), seconds, hide, show)


def soak(
    work: Path,
    store: Store,
    command: list[Any],
    variables: dict[str, str],
    seconds: float,
    hide: Callable[[], None],
    show: Callable[[], None],
) -> dict[str, Any]:
    """80 % load for long; for a tenth of it in the middle, at most a minute, the store is away: errors, log and memory.

    Args:
        work: folder with the image that is sent.
        store: where the service logs.
        command, variables: of the service.
        seconds: of load.
        hide, show: take the store away, and give it back.
    """
    earlier = len(logged_ids(store))
    away = min(60.0, seconds / 10)
    memory: list[float] = []
    with server(command, variables, None) as process:
        load(work, 2, CONNECTIONS)
        rate = 0.8 * load(work, 5, CONNECTIONS)["per_second"]

        def disturb() -> None:
            time.sleep(seconds / 2)
            hide()
            time.sleep(away)
            show()

        def watch() -> None:
            while not done.wait(seconds / 40):
                memory.append(resident_mib(process.pid))

        done = threading.Event()
        threads = [threading.Thread(target=disturb), threading.Thread(target=watch)]
        for thread in threads:
            thread.start()
        table = latencies(work, seconds, CONNECTIONS, rate)
        done.set()
        for thread in threads:
            thread.join()
        total = json.loads(fetch(f"http://127.0.0.1:{PORT}/activity"))["requests"]
    ids = logged_ids(store)
    half = len(memory) // 4
    row = {
        "seconds": seconds,
        "away_seconds": away,
        "per_second": rate,
        "requests": len(table),
        "failed": int((table["status"] != 200).sum()),
        "answered": total,
        "logged": len(ids) - earlier,
        "logged_twice": int(ids.duplicated().sum()),
        "p99": float(1000 * table["seconds"].quantile(0.99)),
        "resident_mib_first_quarter": float(np.median(memory[:half])),
        "resident_mib_last_quarter": float(np.median(memory[-half:])),
    }
    print(json.dumps(row), flush=True)
    return row


def logged_ids(store: Store) -> pd.Series:
    """The request ids of every log file."""
    keys = [entry.key for entry in store.list("logs/") if entry.key.endswith(".parquet")]
    files = [pd.read_parquet(io.BytesIO(store.read(key)), columns=["request_id"])["request_id"] for key in keys]
    return pd.concat(files) if files else pd.Series([], dtype=str)


@contextmanager
def server(command: list[Any], variables: dict[str, str], directory: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers on `PORT`, with its children in a process group of their own.

    Raises:
        RuntimeError: it does not start, or another answers there already: that one would be measured.
    """
    if answers():
        raise RuntimeError(f"something answers on port {PORT} already; end it first")
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [str(word) for word in command], env=variables, cwd=directory, stdout=errors, stderr=errors, start_new_session=True
        )
        try:
            until = time.monotonic() + 90
            while not answers():
                if process.poll() is not None or time.monotonic() > until:
                    errors.seek(0)
                    raise RuntimeError(f"{command[0]} did not start: {errors.read()[-2000:].decode(errors='replace')}")
                time.sleep(0.2)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                print(f"{command[0]} did not end", file=sys.stderr)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers() -> bool:
    try:
        fetch(f"http://127.0.0.1:{PORT}/")
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def load(work: Path, seconds: float, connections: int, kind: Kind = JPEG) -> dict[str, Any]:
    """Answers a second and latencies in ms, as fast as so many callers can."""
    table = latencies(work, seconds, connections, 0, kind)
    good = table[table["status"] == 200]
    quantiles = {f"p{q}": float(1000 * good["seconds"].quantile(q / 100)) if len(good) else None for q in (50, 95, 99)}
    return {"answers": len(good), "per_second": len(good) / seconds, "failed": int(len(table) - len(good)), **quantiles}


def latencies(work: Path, seconds: float, connections: int, rate: float, kind: Kind = JPEG) -> pd.DataFrame:
    """Every request of `hey`: seconds, status, and offset from its start; `rate` a second in all, 0 for as many as go."""
    if kind == GRPC:
        return grpc_latencies(work, seconds, connections)
    paced = ["-q", f"{rate / connections:.4f}"] if rate else []
    command = ["hey", "-z", f"{seconds}s", "-c", str(connections), *paced, "-o", "csv", "-t", "60", "-m", "POST", "-T", kind.type]
    command += ["-H", kind.header] if kind.header else []
    command += ["-D", str(work / kind.body), f"http://127.0.0.1:{PORT}{kind.path}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [(float(row["response-time"]), int(row["status-code"]), float(row["offset"])) for row in csv.DictReader(io.StringIO(output))]
    return pd.DataFrame(rows, columns=["seconds", "status", "offset"])


def grpc_latencies(work: Path, seconds: float, connections: int) -> pd.DataFrame:
    """The same of `ghz`, as many as go, each caller on a connection of its own; status 200 is gRPC's OK."""
    command = ["ghz", "--insecure", "--protoset", str(work / PROTOCOL), "--call", GRPC.path, "--binary-file", str(work / GRPC.body)]
    command += ["--duration", f"{seconds}s", "--duration-stop", "wait", "--format", "json", "--timeout", "60s"]
    command += ["--concurrency", str(connections), "--connections", str(connections), f"127.0.0.1:{GRPC_PORT}"]
    calls = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["details"]
    begun = pd.to_datetime([call["timestamp"] for call in calls])
    statuses = [200 if call["status"] == "OK" else 0 for call in calls]
    return pd.DataFrame(
        {"seconds": [call["latency"] / 1e9 for call in calls], "status": statuses, "offset": (begun - begun.min()).total_seconds()}
    )


def family_of(root: int) -> dict[int, list[str]]:
    """A process and all that descend from it and live, each with the fields of its /proc/<pid>/stat from its state on."""
    fields = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields[int(entry.name)] = stat_of(entry)
    family = {root}
    while grown := {child for child, of in fields.items() if int(of[1]) in family} - family:
        family |= grown
    return {member: fields[member] for member in family if member in fields}


def stat_of(folder: Path) -> list[str]:
    """The fields of a process's or a thread's `stat` in /proc, from its state on."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def seconds_in(fields: list[str]) -> float:
    """User and system time, of `stat_of`."""
    return (int(fields[11]) + int(fields[12])) / TICKS


def processor_seconds(root: int) -> float:
    """User and system time of a process and of its descendants."""
    return sum(map(seconds_in, family_of(root).values()))


def resident_mib(root: int) -> float:
    """Of a process and its descendants; a page that several share counts once in all."""
    total = 0
    for member in family_of(root):
        with suppress(OSError):
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


if __name__ == "__main__":
    sys.exit(main())
