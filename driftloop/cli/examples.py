"""Two examples in the help of every command, of which a test knows that they parse."""

import typer

EXAMPLES = {
    "run": ("run full-loop", "run training --source images/ --set train_epochs=20"),
    "demo": ("demo", "demo --once --json"),
    "report": ("report", "report --store s3://driftloop/default --to reports"),
    "rehearse": ("rehearse --windows 40 --drift-at 20", "rehearse --drift gradual:blur --json"),
    "serve": ("serve --port 8080", "serve --store s3://driftloop/default --processes 4"),
    "replay": ("replay --drift blur+noise:1.0", "replay --to http://127.0.0.1:8080 --rate 50"),
    "status": ("status", "status --store s3://driftloop/default --every 6h --json"),
    "export": ("export --to triton --output repository", "export --to kserve --output isvc"),
    "prune": ("prune", "prune --store s3://driftloop/default --apply"),
    "init": ("init images", "init images --json"),
    "doctor": ("doctor", "doctor --on cluster"),
    "write-source": ("write-source synthetic:xray my-xrays", "write-source digits my-digits"),
    "compile": ("compile", "compile --check"),
    "runs list": ("runs list", "runs list --cluster --json"),
    "runs show": ("runs show", "runs show 20260102-000000-full-loop --json"),
    "runs compare": ("runs compare RUN OTHER", "runs compare RUN OTHER --json"),
    "runs open": ("runs open", "runs open 20260102-000000-full-loop --print"),
    "schedule create": ("schedule create drift-watch --every 6h", "schedule create drift-watch --cron '0 0 3 * * *'"),
    "schedule list": ("schedule list", "schedule list --json"),
    "schedule run-now": ("schedule run-now NAME", "schedule run-now drift-watch"),
    "schedule pause": ("schedule pause NAME", "schedule pause drift-watch"),
    "schedule resume": ("schedule resume NAME", "schedule resume drift-watch"),
    "schedule update": ("schedule update NAME", "schedule update drift-watch"),
    "schedule delete": ("schedule delete NAME", "schedule delete drift-watch"),
    "models list": ("models list", "models list --store s3://driftloop/default --json"),
    "models show": ("models show 2", "models show 2 --json"),
    "models diff": ("models diff 1 2", "models diff 1 2 --json"),
    "models verify": ("models verify", "models verify --store s3://driftloop/default"),
    "models promote": ("models promote 2 --reason 'site B asked for it'", "models promote 3 --reason drill --json"),
    "models rollback": ("models rollback --reason 'complaints from site B'", "models rollback --reason drill --hold"),
    "models release": ("models release --reason 'site B is mended'", "models release --reason drill --json"),
    "models restore-pointer": ("models restore-pointer", "models restore-pointer --store s3://driftloop/default --json"),
    "labels import": ("labels import labels.csv", "labels import label_requests.csv --store s3://driftloop/default --json"),
    "data export": ("data export --output images", "data export --output data/chest --dvc --store s3://driftloop/default"),
    "drift accept": ("drift accept --reason 'the new scanner'", "drift accept --reason 'the new scanner' --by 'Dr. Weiss'"),
    "drift list": ("drift list", "drift list --store s3://driftloop/default --json"),
    "store upgrade": ("store upgrade", "store upgrade --store s3://driftloop/default"),
    "track": ("track --to mlflow", "track --to wandb --store s3://driftloop/default --json"),
    "alerts list": ("alerts list", "alerts list --store s3://driftloop/default --json"),
    "alerts check": ("alerts check rules.yaml", "alerts check rules.yaml --metrics"),
    "alerts silence": ("alerts silence late --for 6h --reason 'the store moves'", "alerts silence slow --for 2d --reason drill"),
    "alerts unsilence": ("alerts unsilence late", "alerts unsilence slow --store s3://driftloop/default"),
    "config list": ("config list", "config list --json"),
    "config explain": ("config explain harm_labels", "config explain drift_config.harm_labels --json"),
}


def add_examples(app: typer.Typer, path: str = "") -> None:
    """Give each command below `app` its examples as the end of its help."""
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        examples = EXAMPLES[f"{path}{name}".replace("_", "-")]
        command.epilog = "\n\n".join(["Examples:", *(f"driftloop {example}" for example in examples)])
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_examples(group.typer_instance, f"{path}{group.name}-".replace("-", " "))
