"""End-to-end tests against any Kubeflow Pipelines: only its public API and the `driftloop` command."""
