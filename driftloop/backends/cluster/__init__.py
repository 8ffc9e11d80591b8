"""`--on cluster` and `driftloop schedule`: Kubeflow Pipelines by its public API.

connection  where it is, and how it is spoken to    backend     a run, from its checks to its reports
preflight   what Kubernetes lacks for a run         workflow    how far a run's steps are
uploads     pipeline versions with their images     pod_logs    what the steps print
schedules   runs and recurring runs                 live_table  what a person sees meanwhile
pod_troubles  why a pod does not start, or was killed
artifacts   what a run's steps have put out, and fetching it
"""
