"""`--on cluster` and `schedule`: Kubeflow Pipelines by its public API.

connection  where it is, and how it is spoken to      preflight  what Kubernetes lacks for a run
images      the images' content tags                  uploads    pipeline versions, named by their content
backend     a run, from its checks to its reports     schedules  recurring runs        trigger  when they start
steps       a compiled pipeline's steps               workflow   their states          log      their lines
display     the live table                            metadata, artifacts  what a run left, and fetching it
"""
