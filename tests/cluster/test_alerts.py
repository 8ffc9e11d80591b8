"""k8s/alerts on a real Kubernetes: its user's rights and its network are enough to see a late watch."""

import json
import os
import secrets
from pathlib import Path

import pytest

from driftloop.store import open_store
from tests.cluster.namespaces import KNOWN_TO_MINIO, image_of, kubectl, overlay, secret_of
from tests.factories.store_history import StoreHistory
from tests.k8s.rendering import ROOT
from tests.serving.service_process import wait_for


def test_the_cron_job_sees_that_no_watch_comes(kubernetes: None, tmp_path: Path) -> None:
    """Nobody takes what it tells: it keeps that in the store, where it may write nothing else, and fails."""
    if not os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("AWS_ENDPOINT_URL does not say where the cluster's MinIO is reached from here")
    namespace = f"driftloop-e2e-{secrets.token_hex(4)}"
    uri = f"s3://driftloop/{namespace}"
    store = open_store(uri)
    history = StoreHistory(store, tmp_path)
    history.promote(history.register(history.dataset(10).manifest_hash))
    history.watched(1, "1")
    told = {"name": "driftloop-alerts", "behavior": "merge", "literals": [f"store={uri}", "every=1h"]}
    overlay(tmp_path, "k8s/alerts", namespace, images=[image_of("watch")], configMapGenerator=[told])
    try:
        kubectl("create", "namespace", namespace)
        kubectl("label", "namespace", namespace, *(f"{key}={value}" for key, value in KNOWN_TO_MINIO.items()))
        kubectl("-n", namespace, "apply", "-f", str(ROOT / "k8s" / "driftloop" / "store.yaml"))
        secret_of("driftloop-alerts", namespace)
        kubectl("-n", namespace, "create", "secret", "generic", "driftloop-receivers", "--from-literal=alertmanager=http://127.0.0.1:1")
        kubectl("apply", "-k", str(tmp_path))
        kubectl("-n", namespace, "create", "job", "now", "--from=cronjob/driftloop-alerts")

        def ended() -> bool:
            status = json.loads(kubectl("-n", namespace, "get", "job", "now", "-o", "json"))["status"]
            return "failed" in status or "succeeded" in status

        wait_for(ended, 120)
        said = kubectl("-n", namespace, "logs", "job/now")
        assert "late: critical" in said, said
        assert "alertmanager was not told" in said.lower(), said
        assert json.loads(store.read("alerts/state.json"))["outbox"]
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")
        for entry in list(store.list()):
            store.delete(entry.key)
