"""Kubernetes' API as a step sees it, over real HTTPS, which keeps TrainJobs and runs them: a process of torchrun for every pod, with the
environment that Kubeflow Trainer 2.3 gives to pods of `torch-distributed` (pkg/runtime/framework/plugins/torch/torch.go)."""

import datetime
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from driftloop.training import train_job
from tests.minio_server import free_port

NAMESPACE, TOKEN, POD = "team", "a-token", "step-1"
JOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
#: Of KFP's step, as far as anything of it is looked at; the values are those of `TrainerApi.secrets`.
AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION")
STEP_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": POD, "namespace": NAMESPACE},
    "spec": {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "imagePullSecrets": [{"name": "registry"}],
        "containers": [
            {"name": "wait", "image": "argoexec"},
            {
                "name": "main",
                "image": "registry.example.com/driftloop-train@sha256:" + "ab" * 32,
                "env": [
                    *({"name": name, "valueFrom": {"secretKeyRef": {"name": "driftloop-store", "key": name.lower()}}} for name in AWS),
                    {"name": "DRIFTLOOP_RUN_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['pipeline/runid']"}}},
                ],
                "resources": {"requests": {"cpu": "200m", "memory": "2Gi"}, "limits": {"cpu": "8", "memory": "8Gi"}},
                "volumeMounts": [
                    {"name": "shared-memory", "mountPath": "/dev/shm"},
                    {"name": "store-ca", "mountPath": "/etc/driftloop-store"},
                    {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
                ],
            },
        ],
        "volumes": [
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
            {"name": "store-ca", "configMap": {"name": "driftloop-store-ca", "optional": True}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        ],
    },
}


class TrainerApi:
    """A server that runs until `close`.

    Args:
        folder: for the account of the step's pod (`folder/account`) and the logs of the jobs.
        secrets: values of the store's variables, which jobs name by reference alone.
        installed: whether the cluster knows TrainJobs.
        allowed: whether the step's account may do anything with them.
    """

    def __init__(self, folder: Path, secrets: dict[str, str], *, installed: bool = True, allowed: bool = True) -> None:
        self.folder, self.secrets, self.installed, self.allowed = folder, secrets, installed, allowed
        self.away: Counter[str] = Counter()
        """How many of the next requests of each method are answered with 503; one that makes a job has made it all the same."""
        self.invalid = ""
        """What is wrong with every job; empty for nothing."""
        self.answers: list[tuple[str, int]] = []
        """Methods and what they were answered with."""
        self.jobs: dict[str, dict[str, Any]] = {}
        self.made: list[dict[str, Any]] = []
        self.processes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.account = folder / "account"
        self.account.mkdir(parents=True)
        (self.account / "token").write_text(TOKEN)
        (self.account / "namespace").write_text(NAMESPACE)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": self}))
        self._server.daemon_threads = True
        self._server.socket = self._context().wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.environment = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self._server.server_port),
            "KFP_POD_NAME": POD,
        }

    def play(self, monkeypatch: pytest.MonkeyPatch, *, poll_s: float) -> None:
        """Let this process be a step's pod of this cluster, which looks at its job every `poll_s` seconds."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(train_job, "ACCOUNT", self.account)
        monkeypatch.setattr(train_job, "POLL_S", poll_s)

    def close(self) -> None:
        for name in list(self.jobs):
            self.remove(name)
        self._server.shutdown()
        self._server.server_close()

    def create(self, job: dict[str, Any]) -> None:
        """Keep a job and start its pods' processes."""
        name, trainer = job["metadata"]["name"], job["spec"]["trainer"]
        self.made.append(json.loads(json.dumps(job)))
        self.jobs[name] = job
        environment = {key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ}
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DRIFTLOOP_CACHE": str(self.folder / "cache")}
        environment |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        environment |= {entry["name"]: self.secrets[entry["name"]] for entry in trainer["env"] if "secretKeyRef" in entry["valueFrom"]}
        environment |= {"PET_NNODES": str(trainer["numNodes"]), "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"])}
        environment |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(free_port())}
        self.processes[name] = []
        for rank in range(trainer["numNodes"]):
            with (self.folder / f"node-{rank}.log").open("wb") as log:
                command, pod = [*trainer["command"], *trainer["args"]], environment | {"PET_NODE_RANK": str(rank)}
                self.processes[name].append(subprocess.Popen(command, env=pod, stdout=log, stderr=subprocess.STDOUT))
        threading.Thread(target=self._follow, args=(name, job), daemon=True).start()

    def _follow(self, name: str, job: dict[str, Any]) -> None:
        codes = [process.wait() for process in self.processes[name]]
        state = "Failed" if any(codes) else "Complete"
        job["status"] = {"conditions": [{"type": state, "status": "True", "reason": "JobsDone", "message": f"codes {codes}"}]}

    def remove(self, name: str) -> None:
        for process in self.processes.pop(name):
            process.terminate()
            process.wait()
        del self.jobs[name]

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("node-*.log")))

    def _context(self) -> ssl.SSLContext:
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
            .add_extension(x509.KeyUsage(True, False, False, False, False, True, False, False, False), True)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        (self.account / "ca.crt").write_bytes(certificate.public_bytes(pem))
        (self.folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.account / "ca.crt", self.folder / "key.pem")
        return context


class _Handler(BaseHTTPRequestHandler):
    api: TrainerApi

    def do_GET(self) -> None:
        if self.path == "/apis/trainer.kubeflow.org/v1alpha1" and self.api.installed:
            self._answer(200, {"kind": "APIResourceList", "groupVersion": "trainer.kubeflow.org/v1alpha1", "resources": []})
        elif self.path == f"/api/v1/namespaces/{NAMESPACE}/pods/{POD}":
            self._answer(200, STEP_POD)
        elif not self.api.allowed:
            self._answer(403, {"reason": "Forbidden"})
        elif job := self.api.jobs.get(self._name()):
            self._answer(200, job)
        else:
            self._answer(404, {"reason": "NotFound"})

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != JOBS or not self.api.allowed:
            self._answer(403, {"reason": "Forbidden"})
            return
        if job["metadata"]["name"] in self.api.jobs:
            self._answer(409, {"reason": "AlreadyExists"})
            return
        if self.api.invalid:
            self._answer(422, {"reason": "Invalid", "message": self.api.invalid})
            return
        self.api.create(job)
        self._answer(201, job)

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = self._name()
        if name not in self.api.jobs:
            self._answer(404, {"reason": "NotFound"})
            return
        self.api.remove(name)
        self._answer(200, {"status": "Success"})

    def _name(self) -> str:
        path = self.path.partition("?")[0]
        return path.removeprefix(f"{JOBS}/") if path.startswith(f"{JOBS}/") else ""

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        if self.api.away[self.command]:
            self.api.away[self.command] -= 1
            status, content = 503, {"reason": "ServiceUnavailable"}
        if self.headers.get("Authorization") not in (f"Bearer {TOKEN}", f"bearer {TOKEN}"):
            status, content = 401, {"reason": "Unauthorized"}
        self.api.answers.append((self.command, status))
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
