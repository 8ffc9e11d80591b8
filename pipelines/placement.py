"""Where each step runs and what it may use: the one place for GPU, resources, time limits, store credentials and caching.

The local runners ignore what is Kubernetes' own, so that one compiled file serves a laptop and a cluster.
"""

from dataclasses import dataclass

from kfp import dsl, kubernetes

GPU = "nvidia.com/gpu"
#: The cluster's secret with the store's credentials, and the ConfigMap with its address; both are made by whoever installs driftloop.
STORE_SECRET = "driftloop-store"  # noqa: S105 - the name of a secret, not one
STORE_CONFIG = "driftloop-store"
MINUTE = 60
#: A step that failed is repeated: nodes go, stores are away. The workflow controller has to allow it (k8s/kubeflow).
RETRIES = 2
#: KFP's name of the run, as the label of each of its pods.
RUN_LABEL = "metadata.labels['pipeline/runid']"


@dataclass(frozen=True)
class Needs:
    """What a step asks for: processors and memory (measured by bench/step_needs.py, with room to spare), and when it has hung.

    `cached` steps are pure functions of their inputs; the others read the store's state or the clock.
    """

    cpu: str
    memory: str
    timeout: int
    cached: bool = True
    gpu: bool = False


#: A step may take this many times the memory it asks for, and any free processor: larger images need more, and a node of two cores
#: beside Kubeflow has a fifth of one to promise.
MOST_MEMORY, MOST_CPU = 4, "8"
LIGHT, HEAVY = "100m", "200m"
NEEDS: dict[str, Needs] = {
    "source-resolution": Needs(LIGHT, "512Mi", 30 * MINUTE, cached=False),
    "data-analysis": Needs(HEAVY, "1536Mi", 120 * MINUTE),
    "baseline-training": Needs(HEAVY, "2Gi", 360 * MINUTE, gpu=True),
    "model-optimization": Needs(HEAVY, "2Gi", 720 * MINUTE, gpu=True),
    "onnx-deployment": Needs(HEAVY, "2Gi", 60 * MINUTE),
    "traffic-replay": Needs(LIGHT, "768Mi", 60 * MINUTE, cached=False),
    "production-monitoring": Needs(LIGHT, "768Mi", 30 * MINUTE, cached=False),
    "drift-detection": Needs(HEAVY, "768Mi", 60 * MINUTE),
    "automated-retraining": Needs(HEAVY, "2Gi", 360 * MINUTE, gpu=True),
    "validation-gate": Needs(HEAVY, "768Mi", 60 * MINUTE, cached=False),
    "model-promotion": Needs(LIGHT, "512Mi", 30 * MINUTE, cached=False),
    "synthesis-report": Needs(LIGHT, "768Mi", 30 * MINUTE, cached=False),
}


def place(task: dsl.PipelineTask, display_name: str, gpus: object = None, nodes: object = None) -> dsl.PipelineTask:
    """Give a task its name in the UI and what its component needs.

    Args:
        task: of one of the components in NEEDS.
        display_name: at most about 18 characters fit the UI's boxes.
        gpus: the pipeline's `gpus` parameter, for steps that can use a GPU; "0" asks for none.
        nodes: the pipeline's `train_nodes` parameter, for the same steps: labels that their node must have.
    """
    needs = NEEDS[task.component_spec.name]
    task.set_display_name(display_name).set_caching_options(needs.cached)
    task.set_cpu_request(needs.cpu).set_cpu_limit(MOST_CPU).set_memory_request(needs.memory).set_memory_limit(at_most(needs.memory))
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
    if needs.gpu:
        task.set_accelerator_type(GPU).set_accelerator_limit(gpus)
        kubernetes.add_node_selector_json(task, nodes)
        kubernetes.add_toleration(task, key=GPU, operator="Exists", effect="NoSchedule")
        kubernetes.empty_dir_mount(task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit="1Gi")  # noqa: S108
    return task


def at_most(memory: str) -> str:
    """The most memory that a step which asks for this much may take."""
    unit = memory[-2:]
    return f"{MOST_MEMORY * int(memory.removesuffix(unit))}{unit}"
