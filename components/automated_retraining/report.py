"""The retraining's chapter: what it learnt from, how the training went, and what it did to both validation splits."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from driftloop.contracts import DRIFTED_GATE, DRIFTED_TRAIN, DRIFTED_VAL
from driftloop.reporting import Page
from driftloop.reporting.plot_style import MUTED, PALETTE, axes
from driftloop.reporting.wording import percent, points
from driftloop.training.privacy import PRIVACY, privacy_sentences


def build_report(facts: dict[str, Any], parent: str) -> Page:
    """The page; `facts` are the step's, `parent` the version that it began from."""
    before, after, added = facts["val_before"], facts["val_after"], facts["added"]
    page = Page(
        "Automated retraining",
        lead=f"Version {parent} was fine-tuned on its old images and on {added[DRIFTED_TRAIN]:,} drifted ones.",
        question="Can the champion learn the drifted images without forgetting the old ones?",
    )
    page.tiles(
        {
            "drifted validation": f"{before['drifted']:.3f} → {after['drifted']:.3f}",
            "clean validation": f"{before['clean']:.3f} → {after['clean']:.3f}",
            "drifted images trained on": added[DRIFTED_TRAIN],
            "kept for the gate": added[DRIFTED_GATE],
        }
    )
    _mix(page, facts)
    _course(page, facts)
    if facts.get(PRIVACY):
        page.section("Privacy", " ".join(privacy_sentences(facts[PRIVACY])))
    page.conclude(
        f"On the drifted validation images the accuracy goes from {percent(before['drifted'])} to {percent(after['drifted'])} "
        f"({points(after['drifted'] - before['drifted'])}), on the clean ones from {percent(before['clean'])} to {percent(after['clean'])} "
        f"({points(after['clean'] - before['clean'])}).",
        limits=[
            f"The drifted validation split has {added[DRIFTED_VAL]:,} images and chose the epoch: its figure is neither precise "
            "nor free of choice.",
            *(f"{note[:1].upper()}{note[1:]}." for note in facts["notes"]),
        ],
        decision="The fine-tuned model is exported like the first one and goes before the gate, on images that it has not seen.",
    )
    return page


def _mix(page: Page, facts: dict[str, Any]) -> None:
    mix, added = facts["mix"], facts["added"]
    page.section("What it learnt from")
    page.table(
        [{"images": name.replace("_", " "), "number": count} for name, count in added.items()],
        "The drifted images by their role. Roles are drawn by group, so that no patient is learnt from and judged on.",
        key="retrain-roles",
    )
    old, drifted = f"the {mix['old']:,} old training images", f"the {mix['drifted']:,} drifted ones"
    origins = "Labels come from: " + ", ".join(f"{origin} {count:,}" for origin, count in facts["origins"].items()) + "."
    if facts["head_only"] and not facts.get(PRIVACY):
        page.text(
            f"[[retrain-roles]]: in the fit {old} weigh {percent(1 - mix['drifted_share'])} and {drifted} {percent(mix['drifted_share'])}, "
            f"each class alike on either side. {origins}"
        )
        return
    page.text(
        f"[[retrain-roles]]: a batch is drawn {percent(1 - mix['drifted_share'])} from {old} and {percent(mix['drifted_share'])} from "
        f"{drifted}, so that the few new images are seen often and the many old ones are not forgotten [[cite:french1999]]. Of the old "
        f"images {percent(mix['restyle_share'])} are shown with the change of style that the drifted ones have. {origins}"
    )


def _course(page: Page, facts: dict[str, Any]) -> None:
    history, best = facts["history"], facts["best_epoch"]
    if facts["head_only"] and not facts.get(PRIVACY):
        page.section(
            "The fit",
            "The champion is a pretrained network of which the first training fitted the head alone, so that is what was fitted again: by "
            "logistic regression on what the network sees of old and drifted images, with the regularisation that had the lowest mean of "
            f"the losses on both validation splits. Computed on: {facts['device']}.",
        )
        return
    page.section(
        "Course of the training",
        f"Epoch {best} of {len(history)} was kept: the lowest mean of the losses on both validation splits, which count alike however many "
        f"images they have{'; it was stopped early' if facts['stopped_early'] else ''}. Learning rate {facts['learning_rate']:.1e}; "
        f"{facts['batch_norm']}. Trained on: {facts['device']}.",
    )
    page.figure(
        course_plot(history, facts["val_before"], best),
        "Accuracy on both validation splits by epoch; epoch 0 is the champion, the dotted line marks the epoch that was kept.",
        key="retrain-course",
    )
    page.text(f"[[retrain-course]]: {course_sentence(history, facts['val_before'], best)}")


def course_plot(history: Sequence[dict[str, Any]], before: dict[str, float], best: int) -> Figure:
    """Clean and drifted accuracy by epoch."""
    figure, (axis,) = axes(7.0, 2.6)
    epochs = [0, *(record["epoch"] for record in history)]
    for name, colour in (("clean", PALETTE[0]), ("drifted", PALETTE[3])):
        values = [before[name], *(record[f"{name}_accuracy"] for record in history)]
        axis.plot(epochs, [100 * value for value in values], color=colour, marker="o", markersize=3, label=f"{name} validation")
    axis.axvline(best, color=MUTED, linestyle=":", label="kept")
    axis.set(xlabel="epoch", ylabel="accuracy, %")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="lower right")
    return figure


def course_sentence(history: Sequence[dict[str, Any]], before: dict[str, float], best: int) -> str:
    """What the kept epoch changed on either split, and whether the two pull against each other."""
    kept = next((record for record in history if record["epoch"] == best), None)
    if kept is None:
        return "No epoch is better than the champion by the mean loss: the champion's weights were kept."
    drifted, clean = kept["drifted_accuracy"] - before["drifted"], kept["clean_accuracy"] - before["clean"]
    text = f"In the kept epoch the drifted accuracy has changed by {points(drifted)} and the clean one by {points(clean)}. "
    if drifted > 0 and clean < 0:
        return text + "What is won on drifted images is partly paid on clean ones; whether the price is right is what the gate decides."
    if drifted > 0:
        return text + "Nothing is paid on clean images for what is won on drifted ones."
    return (
        text
        + "The drifted images are not classified better: too few of them, or labels that do not fit, would be the first places to look."
    )
