"""Where each step runs and what it may use: the one place for GPU, resources, time limits, store credentials and caching.

The local runners ignore what is Kubernetes' own, so that one compiled file serves a laptop and a cluster.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.structures import ResourceSpec

from driftloop.contracts import (
    AUTOMATED_RETRAINING,
    BASELINE_TRAINING,
    DATA_ANALYSIS,
    DRIFT_DETECTION,
    INGEST_PLAN,
    INGEST_SHARD,
    MODEL_OPTIMIZATION,
    MODEL_PROMOTION,
    ONNX_DEPLOYMENT,
    PRODUCTION_MONITORING,
    SHARED_MEMORY_GIB,
    SOURCE_RESOLUTION,
    SYNTHESIS_REPORT,
    TRAFFIC_REPLAY,
    TRIAL_SEARCH,
    VALIDATION_GATE,
)
from driftloop.errors import SettingError

GPU = "nvidia.com/gpu"
#: The cluster's secret with the store's credentials, and the ConfigMap with its address; both are made by whoever installs driftloop.
STORE_SECRET = "driftloop-store"  # noqa: S105 - the name of a secret, not one
STORE_CONFIG = "driftloop-store"
STORE_CA, STORE_CA_FOLDER = "driftloop-store-ca", "/etc/driftloop-store"
MINUTE = 60
#: A step that failed is repeated: nodes go, stores are away. The workflow controller has to allow it (k8s/kubeflow).
RETRIES = 2
#: A step may take this many times the memory it asks for, and any free processor: larger images need more, and a node of two cores
#: beside Kubeflow has a fifth of one to promise.
MOST_MEMORY, MOST_CPU = 4, "8"
#: What a person can set of a step, how it is written, and examples.
QUANTITIES = {"memory": ("[1-9][0-9]{0,6}(Mi|Gi)", "512Mi or 4Gi"), "cpu": (r"[1-9][0-9]{0,5}m?|0\.[0-9]*[1-9]", "500m or 2")}
#: KFP's name of the run, as the label of each of its pods.
RUN_LABEL = "metadata.labels['pipeline/runid']"


@dataclass(frozen=True)
class Needs:
    """What a step asks for; measured by bench/step_needs.py, with room to spare."""

    cpu: str
    """Processors, as Kubernetes writes them."""
    memory: str
    """Memory, likewise."""
    timeout: int
    """Seconds after which it has hung."""
    cached: bool = True
    """Whether it is a pure function of its inputs; the others read the store's state or the clock."""
    gpu: bool = False
    """Whether it can use a GPU."""


LIGHT, HEAVY = "100m", "200m"
#: By the name of the component.
NEEDS: dict[str, Needs] = {
    SOURCE_RESOLUTION: Needs(LIGHT, "512Mi", 30 * MINUTE, cached=False),
    DATA_ANALYSIS: Needs(HEAVY, "1536Mi", 120 * MINUTE),
    BASELINE_TRAINING: Needs(HEAVY, "2Gi", 360 * MINUTE, gpu=True),
    TRIAL_SEARCH: Needs(HEAVY, "2Gi", 720 * MINUTE, gpu=True),
    MODEL_OPTIMIZATION: Needs(HEAVY, "2Gi", 720 * MINUTE, gpu=True),
    ONNX_DEPLOYMENT: Needs(HEAVY, "2Gi", 60 * MINUTE),
    TRAFFIC_REPLAY: Needs(LIGHT, "768Mi", 60 * MINUTE, cached=False),
    PRODUCTION_MONITORING: Needs(LIGHT, "768Mi", 30 * MINUTE, cached=False),
    DRIFT_DETECTION: Needs(HEAVY, "768Mi", 60 * MINUTE, cached=False),
    AUTOMATED_RETRAINING: Needs(HEAVY, "2Gi", 360 * MINUTE, gpu=True),
    VALIDATION_GATE: Needs(HEAVY, "768Mi", 60 * MINUTE, cached=False),
    MODEL_PROMOTION: Needs(LIGHT, "512Mi", 30 * MINUTE, cached=False),
    SYNTHESIS_REPORT: Needs(LIGHT, "768Mi", 30 * MINUTE, cached=False),
    INGEST_PLAN: Needs(LIGHT, "1Gi", 120 * MINUTE, cached=False),
    INGEST_SHARD: Needs(HEAVY, "1Gi", 120 * MINUTE, cached=False),
}


def needs_of(kfp_name: str) -> Needs:
    """What a component needs, by KFP's name of it, which has hyphens."""
    return NEEDS[kfp_name.replace("-", "_")]


def place(task: dsl.PipelineTask, display_name: str, gpus: object = None, nodes: object = None) -> dsl.PipelineTask:
    """Give a task its name in the UI and what its component needs.

    Args:
        task: of one of the components in NEEDS.
        display_name: at most about 18 characters fit the UI's boxes.
        gpus: the pipeline's `gpus` parameter, for steps that can use a GPU; "0" asks for none.
        nodes: the pipeline's `train_nodes` parameter, for the same steps: labels that their node must have.
    """
    needs = needs_of(task.component_spec.name)
    task.set_display_name(display_name).set_caching_options(needs.cached)
    # KFP's own setters look at the sources of all their callers each time, for a message: seconds of every command that loads a pipeline.
    resources = ResourceSpec(cpu_request=needs.cpu, cpu_limit=MOST_CPU, memory_request=needs.memory, memory_limit=at_most(needs.memory))
    task.container_spec.resources = resources
    # Argo counts the longest wait from the first start, and ends what still runs then: it must outlast every attempt.
    task.set_retry(RETRIES, backoff_duration="30s", backoff_factor=2, backoff_max_duration=f"{(RETRIES + 1) * (needs.timeout + MINUTE)}s")
    kubernetes.set_timeout(task, needs.timeout)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    kubernetes.use_field_path_as_env(task, env_name="DRIFTLOOP_RUN_ID", field_path=RUN_LABEL)
    kubernetes.use_secret_as_env(
        task, secret_name=STORE_SECRET, secret_key_to_env={"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
    )
    kubernetes.use_config_map_as_env(
        task, config_map_name=STORE_CONFIG, config_map_key_to_env={"endpoint": "AWS_ENDPOINT_URL", "region": "AWS_REGION"}
    )
    # A store's own certificate authority (k8s/driftloop/store.yaml), where there is one.
    kubernetes.use_config_map_as_env(task, config_map_name=STORE_CONFIG, config_map_key_to_env={"ca": "AWS_CA_BUNDLE"}, optional=True)
    kubernetes.use_config_map_as_volume(task, config_map_name=STORE_CA, mount_path=STORE_CA_FOLDER, optional=True)
    if needs.gpu:
        resources.accelerator_type, resources.accelerator_count = GPU, str(gpus)
        kubernetes.add_node_selector_json(task, nodes)
        kubernetes.add_toleration(task, key=GPU, operator="Exists", effect="NoSchedule")
        kubernetes.empty_dir_mount(
            task,
            volume_name="shared-memory",
            mount_path="/dev/shm",  # noqa: S108 - the place of shared memory, not a temporary file
            medium="Memory",
            size_limit=f"{SHARED_MEMORY_GIB}Gi",
        )
    return task


def at_most(memory: str) -> str:
    """The most memory that a step which asks for this much may take."""
    unit = memory[-2:]
    return f"{MOST_MEMORY * int(memory.removesuffix(unit))}{unit}"


def most_cpu(cpu: str) -> str:
    """The most processors that a step which asks for so many may take."""
    return max(cpu, MOST_CPU, key=processors)


def processors(cpu: str) -> float:
    """Kubernetes' way to write processors, as a number."""
    return int(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)


def gigabytes(memory: str) -> float:
    """Kubernetes' way to write memory, in 10^9 bytes."""
    return int(memory[:-2]) * {"Mi": 1 << 20, "Gi": 1 << 30}[memory[-2:]] / 1e9


def check_placement(placement: Any) -> dict[str, dict[str, str]]:
    """What a person asks for in the place of NEEDS: component -> `memory` or `cpu` -> as Kubernetes writes it.

    Raises:
        SettingError: no such component, another quantity, or a value that is none.
    """
    if not isinstance(placement, dict) or not all(isinstance(wanted, dict) for wanted in placement.values()):
        raise SettingError("placement: write it like placement.automated_retraining.memory=4Gi")
    checked: dict[str, dict[str, str]] = {}
    for step, wanted in placement.items():
        name = str(step).replace("-", "_")
        if name not in NEEDS:
            near = difflib.get_close_matches(name, NEEDS, n=1, cutoff=0.5)
            raise SettingError(f"placement.{step}: no such step ({f'did you mean {near[0]}?' if near else 'known: ' + ', '.join(NEEDS)})")
        for quantity, value in wanted.items():
            if quantity not in QUANTITIES:
                raise SettingError(
                    f"placement.{step}: a step asks for {' and '.join(QUANTITIES)}; write it like placement.{step}.memory=4Gi"
                )
            pattern, example = QUANTITIES[quantity]
            if not re.fullmatch(pattern, str(value)):
                raise SettingError(f"placement.{step}.{quantity}: {value!r} is not an amount; write it like {example}")
            checked.setdefault(name, {})[quantity] = str(value)
    return checked
