"""What a person does now: one list of steps for the drift report, the end of a run and `driftloop status`.

Text may hold `code`, as everywhere in the reports.
"""

from driftloop.contracts import INCONCLUSIVE, LABEL_REQUESTS, LABELLING_SHEET, PROMOTE, REJECT, RETRAIN
from driftloop.plurals import counted
from driftloop.watch_record import AskedLabels


def steps_after_watch(
    verdict: str,
    store: str,
    asked: AskedLabels | None,
    *,
    decision: str | None = None,
    promoted: str | None = None,
    failure: str = "",
    label_files: int = 0,
    harmless: bool = False,
    concept: bool = False,
) -> list[str]:
    """The steps after a watch, each a sentence or two, the first to be done first.

    Args:
        verdict: of the watch.
        store: the model's home, as commands take it.
        asked: the labels that the watch asks for; None: not known, as of a record of an earlier release.
        decision: of the gate, where it has decided.
        promoted: the version that it brought into production.
        failure: why the watch has failed; empty where it has not.
        label_files: files of labels that have come since.
        harmless: whether labels showed a confirmed drift to be harmless.
        concept: whether labels showed that images that look as accepted mean something else now.
    """
    watch_again = f"`driftloop run drift-watch --store {store}`"
    relabel = (
        "Compare some labels of the test split with those that came in: if the same kind of image is labelled otherwise now, no candidate "
        f"that has learned it can pass. Label the source anew, and train on it: `driftloop run training --source FOLDER --store {store}`."
    )
    if promoted:
        return [f"Nothing: version {promoted} serves now. `driftloop models rollback --store {store}` takes that back."]
    if failure:
        return [
            "See the log of the run, and mend what it says: nothing was replaced.",
            f"Watch again: {watch_again}. It goes on where this one ended; a retraining that failed counts for cooldown and budget.",
        ]
    if decision in (REJECT, INCONCLUSIVE):
        return [
            "Read `gate.html`: the champion stays, and the page says which criterion the candidate missed and what would decide it.",
            *([relabel] if concept else _labelling(store, asked, label_files)),
            f"Watch again when there is more: {watch_again}.",
        ]
    if verdict == RETRAIN and decision != PROMOTE:
        return [f"Nothing: a retraining follows, and the gate decides. `driftloop status --store {store}` shows what serves afterwards."]
    if verdict == "needs_labels":
        return [
            *_in_vain(asked),
            *_labelling(store, asked, label_files),
            f"Start the next watch: {watch_again}. It {'takes' if asked and asked.in_vain else 'judges the same drift with'} the labels.",
        ]
    if verdict == "alert" and concept:
        return [relabel, *_quota(store, asked)]
    if verdict == "alert":
        accept = f"If it is to stay, `driftloop drift accept --reason WHY --store {store}` keeps it from alarming again."
        return [
            "Look at what moved in `drift_report.html`, and ask whether somebody knows why: a new device, another light, another site.",
            accept if harmless else "Nothing is retrained now, for the reason that the verdict gives; the next watch judges anew.",
            *_quota(store, asked),
        ]
    return [f"Nothing: the next watch ({watch_again}) begins where this one ended.", *_quota(store, asked)]


def _labelling(store: str, asked: AskedLabels | None, label_files: int) -> list[str]:
    """How to label what a watch asks for, and what that can decide."""
    if label_files:
        came = "A file of labels has" if label_files == 1 else f"{label_files} files of labels have"
        wanted = f", of the {counted(asked.images, 'image')} asked for" if asked else ""
        return [f"{came} come since{wanted}: the next watch takes them, and lists again what is still wanted."]
    if asked is None:
        return [f"Label the images of `{LABEL_REQUESTS}`, and bring the answers in: `driftloop labels import FILE.csv --store {store}`."]
    if not asked.images:
        return [
            "No image can be labelled: "
            + (
                f"of {asked.without_image:,} requests without a label the log kept no image. Serve with a larger share of kept images "
                "(`driftloop serve --image-share`)."
                if asked.without_image
                else "the windows in question have no request without a label. The next windows bring more: wait for them."
            )
        ]
    return [
        f"Label the {counted(asked.images, 'image')} on `{LABELLING_SHEET}`, in any browser: its file of answers is a CSV. "
        f"Or fill the column `label` of `{LABEL_REQUESTS}`; `?` where it cannot be told.",
        f"Bring the answers in: `driftloop labels import labels.csv --store {store}`. A part of them counts, too.",
        *_reach(asked),
    ]


def _in_vain(asked: AskedLabels | None) -> list[str]:
    """What else there is where no labels will decide whether a drift matters."""
    if asked is None or not asked.in_vain:
        return []
    return [
        "No number of labels will show whether this drift does harm: too few independent images told the accuracy that was accepted. "
        "`--set drift_config.retrain_on=alarm` has the next watch retrain on the labels that are there, and the gate decide. A training "
        "with images of more patients, lots or sites, and a larger `data_config.test_share`, makes labels decide."
    ]


def _reach(asked: AskedLabels) -> list[str]:
    """Whether the labels that can be had will decide; empty where that is not known."""
    lines = []
    obtainable = asked.have + asked.obtainable
    if asked.needed > obtainable:
        lines.append(
            f"These images will not decide it: about {asked.needed:,} random labels are needed to judge harm, {asked.have:,} are there and "
            f"{asked.obtainable:,} more can be had from this traffic. Label them all the same; the next windows bring more."
        )
    elif asked.needed > asked.have + asked.listed:
        lines.append(
            f"This list alone will not decide it: about {asked.needed:,} random labels are needed to judge harm, {asked.have:,} are there "
            f"and the list brings {asked.listed:,}; the next watch lists more, and `drift_config.random_requests` makes lists longer."
        )
    if asked.without_image:
        lines.append(f"{asked.without_image:,} requests of these windows cannot be labelled: the log kept no image of them.")
    return lines


def _quota(store: str, asked: AskedLabels | None) -> list[str]:
    if asked is None or not asked.images:
        return []
    return [
        f"Where there is time, label the {asked.images:,} images on `{LABELLING_SHEET}` "
        f"(`driftloop labels import labels.csv --store {store}`): drawn at random, they show early when accuracy falls."
    ]
