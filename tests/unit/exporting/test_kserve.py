"""The objects for KServe. Their pods are held against Kubernetes' own schemas, the rest against KServe's where its CRD is at hand.

DRIFTLOOP_KSERVE_CRD names KServe's `config/crd/full/serving.kserve.io_inferenceservices.yaml` (0.20 or later), which is large and not
ours to ship.
"""

import os
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from driftloop import __version__
from driftloop.errors import InputError
from driftloop.exporting.folder import fetch
from driftloop.exporting.kserve import check_store, service, service_account, triton, write_kserve
from driftloop.store import Store
from tests.unit.exporting.conftest import Export

STORE = "s3://driftloop/team/chest"
#: Fields of a predictor that are KServe's; all others are those of a pod (KServe's PredictorSpec embeds PodSpec).
OF_KSERVE = {"name", "minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "labels", "model"}
SERVICES = {"ours": service(STORE, ""), "triton": triton(STORE, ["2"]), "canary": triton(STORE, ["2", "3"])}


def predictors(service: dict[str, Any]) -> list[dict[str, Any]]:
    return [service["spec"]["predictor"], *(canary["predictor"] for canary in service["spec"].get("canary", []))]


def closed(schema: Any) -> Any:
    """The schema with unknown fields refused, as `kubectl apply --validate=strict` does."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    return inner | ({"additionalProperties": False} if isinstance(schema.get("properties"), dict) and not open_ended else {})


@pytest.mark.parametrize("name", SERVICES)
def test_kserve_s_own_schema_takes_it(name: str) -> None:
    path = os.environ.get("DRIFTLOOP_KSERVE_CRD")
    if not path:
        pytest.skip("KServe's CRD is not at hand: name a copy with DRIFTLOOP_KSERVE_CRD (tests/unit/exporting/test_kserve.py)")
    (version,) = [entry for entry in yaml.safe_load(Path(path).read_text())["spec"]["versions"] if entry["name"] == "v1beta1"]
    schema = closed(version["schema"]["openAPIV3Schema"]["properties"]["spec"])
    jsonschema.validate(SERVICES[name]["spec"], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(SERVICES[name]["spec"] | {"canaries": []}, schema)


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_a_pod_s_in_it_is_a_pod_s(name: str) -> None:
    for predictor in predictors(SERVICES[name]):
        spec = {key: value for key, value in predictor.items() if key not in OF_KSERVE}
        spec.setdefault("containers", [{"name": "kserve-container", "image": "of the runtime"}])
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": predictor.get("labels", {})}, "spec": spec}
        kubernetes_validate.validate(pod, "1.34", strict=True)
    kubernetes_validate.validate(service_account(), "1.34", strict=True)


def test_our_service_is_this_release_and_gets_secrets_by_reference() -> None:
    (container,) = service(STORE, "registry.example.com/team/")["spec"]["predictor"]["containers"]
    assert container["image"] == f"registry.example.com/team/driftloop-serve:{__version__}"
    assert container["args"][container["args"].index("--store") + 1] == STORE
    assert all(entry.keys() == {"name", "valueFrom"} for entry in container["env"])


def test_a_canary_keeps_kserve_s_rules() -> None:
    """Those of `validateCanarySpecs` in KServe 0.20: no schema tells them."""
    canary = triton(STORE, ["2", "3"])
    assert canary["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    stable, (other,) = canary["spec"]["predictor"], canary["spec"]["canary"]
    assert stable["model"]["storageUri"] == "s3://driftloop/exports/team/chest/2"
    assert other["predictor"]["model"]["storageUri"] == "s3://driftloop/exports/team/chest/3"
    assert other["predictor"]["name"] not in ("", stable["name"])
    assert 0 < other["trafficPercent"] < 100
    assert not {"maxReplicas", "scaleMetric", "scaleTarget", "autoScaling", "workerSpec"} & other["predictor"].keys()
    assert other["predictor"]["minReplicas"] <= stable["minReplicas"]
    assert "canary" not in triton(STORE, ["2"])["spec"]


def test_the_folder_holds_objects_and_repositories_of_both_versions(champions: Store, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    champion, other = (fetch(champions, version, tmp_path / f"fetched-{version}") for version in ("2", "1"))
    write_kserve(folder, other, champion, "")
    assert {path.name for path in folder.iterdir()} == {"inferenceservice.yaml", "triton.yaml", "repository", "README.md"}
    for version in ("1", "2"):
        assert (folder / "repository" / version / "champion" / version / "model.onnx").exists()
    account, service = yaml.safe_load_all((folder / "triton.yaml").read_text())
    assert service["spec"]["predictor"]["serviceAccountName"] == account["metadata"]["name"]
    assert [predictor["name"] for predictor in predictors(service)] == ["version-2", "version-1"]


def test_a_store_in_a_folder_is_refused(export: Export, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a pod cannot read a folder of this machine"):
        export("kserve")
    assert not (tmp_path / "kserve-0").exists()
    check_store(STORE)
