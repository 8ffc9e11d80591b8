"""Where pipelines run: in processes of this machine, in containers, on a cluster.

base, open         the protocol of a backend; opening the one that a person names
local, docker      KFP's local runners, each in a child process (local_child, docker_child) whose log is followed
cluster            Kubeflow Pipelines by its public API
run_folder         runs/<id>: log, artifacts, reports        run_summary  summary.json, and the table at a run's end
compiled_pipeline  a pipeline's YAML, parameters and steps   log_events   what lines of a log say
step_display       one line a step while a run goes
"""
