"""`driftloop labels import`: labels that people give later, into the store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, print_json
from driftloop.contracts import IMPORT, LABEL_ORIGINS, SKIP, SKIP_MARKS
from driftloop.errors import InputError, NoChampion
from driftloop.plurals import counted
from driftloop.registry import current, description
from driftloop.spelling import named_class
from driftloop.store import open_store

if TYPE_CHECKING:
    import pandas as pd

labels = typer.Typer(help="Labels for logged requests.", no_args_is_help=True)
MAX_BYTES = 64 * 2**20


@labels.callback()
def _labels() -> None:
    """Labels for logged requests."""


@labels.command("import")
def import_labels(
    file: Annotated[Path, typer.Argument(help="CSV with the columns request_id and label, and origin where known.")],
    store: Annotated[str, typer.Option(help="The model's home: a folder or s3://bucket/prefix.")] = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Import labels, such as a filled-in label_requests.csv.

    Rows whose origin is `random` and that a watch has drawn count for harm and for the gate, those of `by_class` for how often that class
    is recognised; all others only for training. Write ? where an image cannot be labelled: it is counted, and not asked for again.
    """
    from driftloop.inference.labels import with_checked_origins, write_labels

    home = open_store(store)
    champion = current(home)
    if champion is None:
        raise NoChampion(f"{store}: no champion, so no classes to label with; train one with `driftloop run training --store {store}`")
    model = description(home, champion.version)
    frame, stray = with_checked_origins(home, read_labels_csv(file, model.classes))
    write_labels(home, frame)
    skipped = frame["label"] == SKIP
    counts = frame.loc[~skipped, "origin"].value_counts()
    if as_json:
        imported = {str(origin): int(count) for origin, count in counts.items()}
        print_json({"imported": imported, "skipped": int(skipped.sum()), "not_drawn": stray})
        return
    said = ", ".join(f"{count:,} {origin}" for origin, count in counts.items()) or "none"
    passed_over = f", {skipped.sum():,} skipped" if skipped.any() else ""
    typer.echo(f"{counted(int((~skipped).sum()), 'label')} imported ({said}){passed_over}")
    if stray:
        typer.echo(
            f"{stray:,} lines say that they were drawn, but no watch of this store has drawn their requests: they count as imports",
            err=True,
        )


def read_labels_csv(path: Path, classes: list[str]) -> "pd.DataFrame":
    """The labels in a CSV file: request_id, label, origin; rows without a label are left out, those that say ? or skip have `SKIP`.

    Raises:
        InputError: not such a file, too large, a class that the model does not know, or one request labelled in two ways.
    """
    import pandas as pd  # half a second, which the other commands need not wait for

    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES // 2**20} MiB; split it")
        # Empty lines are read as well: a line that is refused is named by its number in the file.
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
        if len(frame.columns) == 1 and ";" in frame.columns[0]:  # a spreadsheet's, where the comma is the decimal sign
            frame = pd.read_csv(path, sep=";", dtype=str, keep_default_na=False, skip_blank_lines=False)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not in UTF-8; save it as 'CSV UTF-8' in the spreadsheet") from None
    except ValueError as error:
        raise InputError(f"{path}: not a CSV file ({' '.join(str(error).split())})") from None
    missing = {"request_id", "label"} - set(frame.columns)
    if missing:
        raise InputError(f"{path}: no column {' and '.join(sorted(missing))}; expected request_id,label and optionally origin")
    frame = frame.fillna("").assign(origin=frame.get("origin", IMPORT))
    frame = frame.loc[frame["label"] != "", ["request_id", "label", "origin"]]
    if frame.empty:
        raise InputError(f"{path}: no labels in it; fill in the label column with {', '.join(classes)}")
    meant = {label: named_class(label, classes) or label for label in frame["label"].unique()}
    frame = frame.assign(label=frame["label"].map(meant))
    marks = [mark for mark in SKIP_MARKS if mark not in classes]
    frame = frame.assign(label=frame["label"].where(~frame["label"].isin(marks), SKIP))
    _check_values(path, frame[frame["label"] != SKIP], "label", classes)
    _check_values(path, frame, "origin", list(LABEL_ORIGINS))
    frame = frame.drop_duplicates()
    twice = frame.loc[frame["request_id"].duplicated(), "request_id"]
    if len(twice):
        raise InputError(f"{path}: request {twice.iloc[0]} is labelled in two ways; keep one line per request")
    return frame.reset_index(drop=True)


def _check_values(path: Path, frame: "pd.DataFrame", column: str, known: list[str]) -> None:
    wrong = frame.loc[~frame[column].isin(known)]
    if len(wrong):
        line = int(wrong.index[0]) + 2  # the header is line 1
        raise InputError(f"{path}:{line}: {column} {wrong.iloc[0][column]!r} is none of {', '.join(known)}")
