"""What a run is asked to do is collected from files, options and --set, in this order, and checked."""

from pathlib import Path

import pytest
from typer.main import get_command

from driftloop.backends.compiled_pipeline import default_arguments
from driftloop.cli.arguments import collect, read_arguments
from driftloop.cli.main import app
from driftloop.errors import InputError, SettingError
from driftloop.settings import PARAMETERS
from pipelines import PIPELINES

LOOP = PIPELINES["full-loop"]


def test_later_sources_win_and_groups_merge(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("seed: 5\ndata_image_size: 96\ndata_config: {val_share: 0.2, workers: 1}\n")
    parameters = collect(LOOP, [config], {"seed": 6, "data_source": None}, ["data_config.workers=2", "train_epochs=3"])
    assert parameters == {"seed": 6, "data_image_size": 96, "data_config": {"val_share": 0.2, "workers": 2}, "train_epochs": 3}


def test_settings_that_are_a_pipelines_own_default_survive_other_settings_of_their_group() -> None:
    assert collect(LOOP, [], {}, ["drift_config.gate_power=0"])["drift_config"] == {"teaching": True, "gate_power": 0}
    assert collect(LOOP, [], {}, ["drift_config.teaching=false"])["drift_config"] == {"teaching": False}
    assert collect(PIPELINES["drift-watch"], [], {}, ["drift_config.gate_power=0"])["drift_config"] == {"gate_power": 0}


def test_every_pipeline_default_passes_its_own_checks() -> None:
    for pipeline in PIPELINES.values():
        known = default_arguments(pipeline)
        assert collect(pipeline, [], known, []) == known


def test_a_parameter_of_another_pipeline_is_no_misspelt_one() -> None:
    for name, assignment, owner in (
        ("drift-watch", "train_epochs=3", "training and full-loop"),
        ("training", "drift_config.harm_labels=50", "drift-watch and full-loop"),
    ):
        parameter = assignment.partition("=")[0].partition(".")[0]
        with pytest.raises(SettingError, match=f"{parameter}: this pipeline has no such parameter; .* belongs to {owner}$"):
            collect(PIPELINES[name], [], {}, [assignment])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("data_imagesize=96", r"did you mean data_image_size\?"),
        ("data_config.val_shar=0.2", r"did you mean data_config\.val_share\?"),
        ("drift_config.minimum_labels=50", r"no such setting \(did you mean drift_config\.harm_labels\?\)"),
        ("retrain_config.minimum_labels=50", r"no such setting \(did you mean retrain_config\.needed_labels\?\)"),
        ("data_image_size=9", r"data_image_size: 9 is outside 32..512"),
        ("data_image_size=96.5", r"data_image_size: 96.5 is not a whole number"),
        ("drift_alpha=lots", r"drift_alpha: 'lots' is not a number"),
        ("gpus=some", r"gpus: 'some' is not a whole number"),
        ("gpus=17", r"gpus: 17 is outside 0..16"),
        ("data_config=5", r"data_config: 5 is not a group of settings"),
        ("seed", r"--set seed: expected name=value"),
        ("drift_alpha=.nan", r"drift_alpha: nan is outside"),
        ("seed=.inf", r"seed: inf is not a whole number"),
        ("train_nodes=a100", r"train_nodes: 'a100' is not a group of labels; give train_nodes\.<label>=<value>"),
        ("train_nodes.gpu=a b", r"train_nodes: gpu=a b is not a valid label of a node"),
        ("train_nodes.a/b/c=d", r"train_nodes: a/b/c=d is not a valid label of a node"),
    ],
)
def test_a_bad_assignment_gets_one_line_that_says_how_to_mend_it(assignment: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as raised:
        collect(LOOP, [], {}, [assignment])
    assert "\n" not in str(raised.value)


def test_gpus_stay_text_as_kfp_wants_them() -> None:
    assert collect(LOOP, [], {}, ["gpus=0"]) == {"gpus": "0"}


def test_labels_of_nodes_are_texts_whatever_yaml_makes_of_them(tmp_path: Path) -> None:
    given = ["train_nodes.nvidia.com/gpu.product=NVIDIA-L4", "train_nodes.nvidia.com/gpu.count=08", "train_nodes.spot=yes"]
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.count": "08", "spot": "yes"}
    assert collect(LOOP, [], {}, given) == {"train_nodes": labels}
    config = tmp_path / "config.yaml"
    config.write_text("train_nodes: {spot: yes}\n")
    with pytest.raises(SettingError, match="train_nodes: spot is True, not a text; put it in quotation marks"):
        collect(LOOP, [config], {}, [])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", r"'\(' is not a valid regular expression: missing \)"), ("person", "'person' needs a group in parentheses")],
)
def test_a_pattern_that_names_no_patient_is_refused_before_a_run(pattern: str, message: str) -> None:
    with pytest.raises(SettingError, match=f"^data_config.group_pattern: {message}"):
        collect(LOOP, [], {}, [f"data_config.group_pattern={pattern}"])


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "5"])
def test_a_config_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(content)
    with pytest.raises(InputError, match="--config"):
        collect(LOOP, [config], {}, [])


def test_one_config_file_serves_every_pipeline(tmp_path: Path) -> None:
    config = tmp_path / "driftloop.yaml"
    config.write_text("data_source: images\ntraffic_drift: none\ngate_margin: 0.05\n")
    assert collect(PIPELINES["drift-watch"], [config], {}, []) == {"gate_margin": 0.05}
    config.write_text("gate_marginn: 0.05\n")
    with pytest.raises(SettingError, match="did you mean gate_margin"):
        collect(PIPELINES["drift-watch"], [config], {}, [])


def test_a_missing_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        collect(LOOP, [tmp_path / "none.yaml"], {}, [])


def test_the_committed_configs_are_valid() -> None:
    for path in sorted(Path("configs").rglob("*.yaml")):
        assert collect(LOOP, [path], {}, []), path


def test_the_first_config_is_what_a_run_does_anyhow() -> None:
    parameters = collect(LOOP, [Path("configs/xray.yaml")], {}, [])
    assert parameters == {name: PARAMETERS[name].default for name in parameters}


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("run", {"source": "data_source", "drift": "traffic_drift", "store": "store", "seed": "seed", "gpus": "gpus"}),
        ("rehearse", {"source": "data_source", "seed": "seed", "gpus": "gpus"}),
    ],
)
def test_help_says_of_a_parameter_what_its_declaration_says(command: str, options: dict[str, str]) -> None:
    shown = {option.name: option.help for option in get_command(app).commands[command].params}
    for option, name in options.items():
        assert shown[option].startswith(PARAMETERS[name].description)


def test_what_a_step_asks_for_is_no_parameter(tmp_path: Path) -> None:
    config = tmp_path / "large.yaml"
    config.write_text("seed: 6\nplacement: {automated_retraining: {memory: 4Gi, cpu: 2}, validation-gate: {cpu: 500m}}\n")
    assigned = ["placement.automated_retraining.memory=6Gi", "placement.baseline_training.cpu=0.5"]
    arguments = read_arguments(LOOP, [config], {}, assigned)
    assert arguments.parameters == {"seed": 6}
    assert arguments.placement == {
        "automated_retraining": {"memory": "6Gi", "cpu": "2"},
        "validation_gate": {"cpu": "500m"},
        "baseline_training": {"cpu": "0.5"},
    }
    with pytest.raises(InputError, match="placement is for runs on a cluster; add --on cluster"):
        collect(LOOP, [config], {}, [])


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("placement.baseline.memory=4Gi", r"placement.baseline: no such step \(did you mean baseline_training\?\)"),
        ("placement.automated_retraining=4Gi", "placement: write it like placement.automated_retraining.memory=4Gi"),
        (
            "placement.automated_retraining.gpu=1",
            "placement.automated_retraining: a step asks for memory and cpu; write it like placement.automated_r",
        ),
        ("placement.automated_retraining.memory=4", "memory: '4' is not an amount; write it like 512Mi or 4Gi"),
        ("placement.automated_retraining.memory=4GB", "memory: '4GB' is not an amount"),
        ("placement.automated_retraining.memory=0Gi", "memory: '0Gi' is not an amount"),
        ("placement.automated_retraining.cpu=0", "cpu: '0' is not an amount; write it like 500m or 2"),
        ("placement.automated_retraining.cpu=many", "cpu: 'many' is not an amount"),
        ("placement.automated_retraining.=4Gi", "placement.automated_retraining: a step asks for memory and cpu"),
        ("placement=4Gi", "placement: write it like placement.automated_retraining.memory=4Gi"),
    ],
)
def test_a_wrong_placement_is_one_clear_line(assignment: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        read_arguments(LOOP, [], {}, [assignment])
