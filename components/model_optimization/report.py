"""The optimisation's report: the learning rate, the learning, what helped, and what came of it."""

from dataclasses import asdict, dataclass
from typing import Any

from matplotlib.figure import Figure

from components.model_optimization.ablation import Ablation, summarise
from components.model_optimization.comparison import conclusion
from components.model_optimization.latency_limit import LatencyLimit, latency_sentence
from components.model_optimization.preview import previews
from components.model_optimization.sweep import Sweep
from components.model_optimization.sweep_report import add_sweep
from components.model_optimization.training_plan import TrainingPlan
from driftloop.evaluation.intervals import Proportion
from driftloop.evaluation.paired import PairedDifference
from driftloop.plurals import counted
from driftloop.reporting import Page
from driftloop.reporting.plot_style import MUTED, PALETTE, axes
from driftloop.reporting.wording import compared, difference_sentence, extremes, percent, points
from driftloop.training import lr_finder
from driftloop.training.architectures import whole_width
from driftloop.training.domains import domain_of
from driftloop.training.lr_finder import RangeTest
from driftloop.training.outcome import TrainedModel
from driftloop.training.privacy import PRIVACY
from driftloop.training.report_sections import add_evaluation, add_learning, add_network, add_privacy, score_numbers
from driftloop.training.task import Task

KEY = "optimised"
#: What the report says of each kind of network.
ARCHITECTURES = {
    "residual": (
        "A narrow stem at full resolution and four residual blocks, each behind a max-pool; the embedding is the mean over positions. "
        "Strides in place of pooling, as in the original, cost accuracy on small images: a finding of a few pixels falls between them. "
        "Each block starts as its shortcut, which lets large learning rates start safely."
    ),
    "residual_groupnorm": (
        "A narrow stem at full resolution and four residual blocks, each behind a max-pool, with group norm, which looks at one image at a "
        "time: batch norm would let one image into the gradient of another, and privacy counts gradients by image."
    ),
    "plain_cnn_groupnorm": (
        "The baseline's network with group norm, which looks at one image at a time: batch norm would let one image into the gradient of "
        "another, and privacy counts gradients by image."
    ),
    "plain_cnn": "Convolutions one after the other, each followed by a max-pool: the baseline's network, under the better recipe.",
}
BACKBONE = (
    "A network of the library timm, published and tried by others. Grey images reach it as three equal channels, with the normalisation "
    "that its weights were learnt with; its own classifier is replaced by a linear head on the mean over positions."
)


@dataclass(frozen=True)
class OptimizationFindings:
    """What the step found out."""

    plan: TrainingPlan
    """What was trained and how."""
    range_test: RangeTest | None
    """Of the learning rate; None where only the head of a pretrained network was fitted."""
    sweep: Sweep | None
    """The search, where the settings ask for it."""
    ablation: Ablation
    """What each ingredient brought."""
    trained: TrainedModel
    """The final model and its scores."""
    baseline: Proportion
    """The baseline's accuracy on the test split."""
    difference: PairedDifference
    """Of the final model's accuracy to the baseline's on the same test images."""
    limit: LatencyLimit | None = None
    """To what an image may cost, where the settings ask for it."""


def build_report(task: Task, findings: OptimizationFindings, facts: dict[str, Any]) -> Page:
    """The page; `facts` are the step's."""
    test = findings.trained.scores.test.accuracy
    page = Page(
        "Model optimisation",
        lead=f"{findings.plan.why}; trained on {len(task.train):,} images.",
        question="What do a better network and a better recipe bring, and which ingredient brings it?",
    )
    page.tiles(
        {
            "test accuracy": test.value,
            "95 % interval": f"{test.low:.3f} – {test.high:.3f}",
            "baseline": findings.baseline.value,
            "parameters": facts["parameters"],
            "seconds": round(facts["seconds"]),
        }
    )
    page.notice(*conclusion(findings.difference))
    page.section("Architecture", ARCHITECTURES.get(whole_width(findings.plan.architecture), BACKBONE))
    if findings.limit:
        page.text(latency_sentence(findings.limit, findings.plan.architecture))
    add_network(page, findings.trained.network, KEY)  # type: ignore[arg-type]
    if findings.plan.head_only and not findings.plan.recipe.privacy:
        _fitted_head(page, task, findings)
    else:
        if findings.range_test:
            _learning_rate(page, findings, findings.range_test)
        _recipe(page, findings)
        if findings.plan.recipe.privacy:
            add_privacy(page, facts[PRIVACY], facts[PRIVACY]["largest_group"])
        else:
            add_sweep(page, findings.sweep)
        _views(page, task, findings)
        _learning(page, task, findings, facts)
        if not findings.plan.recipe.privacy:
            add_ablation(page, findings.ablation)
    add_evaluation(page, task, findings.trained, KEY)
    _comparison(page, findings)
    page.conclude(
        conclusion(findings.difference)[0],
        limits=[
            "One training with one seed: intervals are over images, and the variation between seeds comes on top.",
            *(
                [
                    "The ablation is short and on the validation split: it ranks ingredients at that length, and says little about "
                    "long trainings."
                ]
                if findings.ablation.rows
                else []
            ),
            f"Ingredients that were not tried here ({', '.join(_not_tried(findings))}) may help more than those that were.",
        ],
        decision=(
            "The optimised model is exported, even though it is not shown to be better than the baseline."
            if findings.difference.low <= 0
            else "The optimised model is exported and goes before the gate."
        ),
        numbers=score_numbers(findings.trained, facts),
    )
    return page


def _not_tried(findings: OptimizationFindings) -> list[str]:
    views = findings.plan.augmentation
    tried = {
        "mixup": findings.plan.mixup > 0,
        "CutMix": findings.plan.cutmix > 0,
        "RandAugment": views is not None and views.randaugment > 0,
        "random crops": views is not None and views.crop > 0,
        "pretrained weights": findings.plan.pretrained is not None,
    }
    return [name for name, done in tried.items() if not done] + ["larger images", "more labels"]


def _fitted_head(page: Page, task: Task, findings: OptimizationFindings) -> None:
    done = findings.trained.history.best
    page.section(
        "How it learnt",
        f"The weights of the pretrained network stay as they are; its head is the logistic regression on what the network sees in the "
        f"{len(task.train):,} training images, each as it is, looked at once. Its regularisation is the one with the lowest loss on the "
        f"{len(task.val):,} validation images. There is no learning rate, no schedule and nothing to take away in an ablation. "
        f"{percent(done.accuracy)} of the training images and {percent(done.val_accuracy)} of the validation images are right, after "
        f"{done.seconds:,.0f} s.",
    )
    page.text(
        "All layers together would mostly reach more, and take many times as long: `train_config.trained_layers=all` trains them, best "
        "on a GPU. A retraining of this model lets its head alone learn, too."
    )


def _learning_rate(page: Page, findings: OptimizationFindings, test: RangeTest) -> None:
    used = findings.plan.recipe.learning_rate
    page.section(
        "Learning rate",
        "The rate is raised step by step on a copy of the fresh network, without augmentation, while the loss is watched "
        "[[cite:smith2017]]. "
        f"Used as the peak: {used:.1e}, from {rate_origin(test, used)}.",
    )
    page.figure(lr_finder.plot(test, used), "Range test: smoothed training loss over the learning rate.", key="optimised-rate")
    page.text(f"[[optimised-rate]]: {range_sentence(test, used)}")


def rate_origin(test: RangeTest, used: float) -> str:
    """What decided on the rate: the test, the bounds that its answer is held to, or somebody else."""
    if used != test.suggestion:
        return f"the settings or the search; the test alone suggests {test.suggestion:.1e}"
    if used in test.rates:
        return "where the loss has made two thirds of its fall"
    return "the bounds of what such a network is trained with: where the loss has made two thirds of its fall lies outside of them"


def range_sentence(test: RangeTest, used: float) -> str:
    """What the range test shows of where the loss falls, and whether it explodes."""
    lowest = min(range(len(test.losses)), key=lambda index: test.losses[index])
    text = (
        f"{len(test.rates)} rates from {test.rates[0]:.1e} to {test.rates[-1]:.1e} were tried, a step each. The smoothed loss begins at "
        f"{test.losses[0]:.3f} and is lowest, {test.losses[lowest]:.3f}, at a rate of {test.rates[lowest]:.1e}"
    )
    ended = test.losses[-1] > 1.2 * test.losses[lowest]
    text += (
        f"; at the end of the range it has risen to {test.losses[-1]:.3f}: the upper edge of what this network bears lies inside the range."
        if ended
        else f"; at the end of the range it is {test.losses[-1]:.3f}: no rate that was tried breaks the training."
    )
    ratio = test.rates[lowest] / used
    if ratio > 1:
        text += (
            f" The rate used is {ratio:.1f} times smaller than the one at the lowest point, which leaves room where later "
            "steps meet steeper ground."
        )
    elif ratio < 1:
        text += f" The rate used is {1 / ratio:.1f} times the one at the lowest point: it was bounded from below or set by hand."
    return text


def _recipe(page: Page, findings: OptimizationFindings) -> None:
    recipe, plan = findings.plan.recipe, findings.plan
    page.section(
        "Recipe",
        "Each ingredient is there for a reason."
        if recipe.privacy
        else "Each ingredient is there for a reason, and each that is on is taken away once in the ablation below, so that the reason "
        "can be held "
        "against a measurement.",
    )
    used: dict[str, tuple[str, str]] = {
        "residual blocks [[cite:he2016]]": (
            plan.architecture.replace("_", " "),
            "gradients pass through the shortcuts; blocks start as identities",
        ),
        "learning rate": (f"{recipe.learning_rate:.1e}", "peak of the cycle" + (", from the range test" if findings.range_test else "")),
        "OneCycle [[cite:smith2018]]": ("on" if recipe.one_cycle else "off", "rises over a quarter of the steps, then falls to almost 0"),
        "optimiser": ("AdamW" if recipe.weight_decay else "Adam", "decay of the weights apart from the gradient [[cite:loshchilov2019]]"),
        "weight decay": (f"{recipe.weight_decay:g}", "keeps weights small; biases and norms are left out"),
        "label smoothing": (f"{recipe.label_smoothing:g}", "takes a share of the target away, so that no answer is pushed to certainty"),
        "augmentation": ("on" if plan.augmentation else "off", "new views in each epoch, so that images are not learnt by heart"),
        "mixup": (f"{plan.mixup:g}", "mixes pairs of images and of labels; 0 is off"),
        "CutMix [[cite:yun2019]]": (f"{plan.cutmix:g}", "puts a box of one image into another, and its share into the label; 0 is off"),
        "moving average of the weights": (f"{recipe.average:g}", "validates a mean of the last steps' weights; 0 is off"),
        "precision": (recipe.precision, "half-size numbers where the hardware computes them faster"),
        "class weights": (
            ", ".join(f"{weight:g}" for weight in recipe.class_weights) or "none",
            "a rare class counts as much as a common one",
        ),
        "epochs": (f"{recipe.epochs}", "full passes over the training split"),
    }
    if plan.pretrained:
        del used["residual blocks [[cite:he2016]]"]
    if plan.head_only:
        page.text(
            "Only the head learns, a linear layer: the network looks at each training image once, as it is, and the steps with noise are "
            "taken on what it saw, shifted and scaled by what it sees in the validation images."
        )
    page.table(
        [{"ingredient": name, "here": value, "what for": reason} for name, (value, reason) in used.items()],
        "The recipe of the optimised model.",
        key="optimised-recipe",
    )
    if plan.augmentation:
        views = {name.replace("_", " "): value for name, value in asdict(plan.augmentation).items()}
        page.text(
            "Strength of the random views: "
            + ", ".join(f"{name} {_plain(value)}" for name, value in views.items())
            + ". They are drawn anew for "
            "every image in every epoch; their purpose is that position, turn and light of an image carry no class."
        )


def _plain(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _views(page: Page, task: Task, findings: OptimizationFindings) -> None:
    plan = findings.plan
    if plan.augmentation is None:
        return
    views = plan.augmentation
    domain = domain_of(task.settings, task.description)
    amounts = ", ".join(
        f"{name.replace('_', ' ')} {value:g}" if value else f"no {name.replace('_', ' ')}" for name, value in asdict(views).items()
    )
    page.section("What it saw", f"Random views, as they suit {domain} images (`train_config.domain`): {amounts}.")
    mixed = ", mixed with views of the others" if plan.mixes else ""
    for images, captions in previews(task, plan, seed=findings.trained.seed):
        page.gallery(images, captions, f"{captions[0]}: a training image and random views of it{mixed}.", side=88)
    page.text(
        "If a person can no longer tell the class of a view, the augmentation is too strong for this task. The baseline sees the images "
        "as they are; this model sees such views, new ones in every epoch."
    )


def _learning(page: Page, task: Task, findings: OptimizationFindings, facts: dict[str, Any]) -> None:
    history, recipe = findings.trained.history, findings.plan.recipe
    page.section(
        "How it learnt",
        f"{len(history.epochs)} of {counted(recipe.epochs, 'epoch')} {'with OneCycle ' if recipe.one_cycle else ''}in {recipe.precision}. "
        f"Epoch {history.best_epoch} was kept: the highest {'balanced ' if recipe.class_weights else ''}accuracy on the validation split "
        f"({len(task.val):,} images), which therefore reads a little too high. Trained on: {facts['device']}, "
        f"{facts['images_per_second']:,.0f} images per second.",
    )
    add_learning(page, history, KEY)


def add_ablation(page: Page, ablation: Ablation) -> None:
    """The section of the short trainings."""
    page.section(
        "What helped",
        "The ablation trains the whole recipe and the recipe without one ingredient, each from the same seed and for the same few "
        "epochs, and "
        "compares them on the same validation images.",
    )
    page.text(summarise(ablation))
    if not ablation.rows:
        return
    rows: list[dict[str, object]] = [
        {
            "run": row.name,
            "validation accuracy": row.val_accuracy,
            **({} if row.val_balanced is None else {"balanced accuracy": row.val_balanced}),
            "change, points": None if row.change is None else f"{100 * row.change:+.1f}",
            "95 % interval": "" if row.low is None or row.high is None else f"{100 * row.low:+.1f} to {100 * row.high:+.1f}",
            "images per second": round(row.images_per_second),
        }
        for row in ablation.rows
    ]
    rows += [
        {"run": name, "validation accuracy": None, "change, points": "not run: no time", "95 % interval": ""} for name in ablation.left_out
    ]
    page.table(
        rows,
        f"One ingredient left out at a time; {counted(ablation.epochs, 'epoch')} each, one seed, on the validation split only. The "
        "intervals are paired, over images; another seed may differ by more.",
        key="optimised-ablation",
    )
    if ablation.rows[0].val_balanced is not None:
        page.text(
            "The changes are those of the validation accuracy, image by image; the epoch of each run is the one with the highest balanced "
            "accuracy, in which each class counts alike. Where the two disagree, the balanced one is what the recipe is after."
        )
    if len(ablation.rows) > 1:
        page.figure(
            ablation_plot(ablation), "Change of the validation accuracy when an ingredient is left out.", key="optimised-ablation-plot"
        )
        page.text(f"[[optimised-ablation-plot]]: {ablation_sentence(ablation)}")
    page.text(
        "Regularisation (augmentation, smoothing, decay) pays off late: it slows learning and prevents learning by heart, so that "
        "short runs "
        "understate it. An ingredient that seems to harm here may help in the full training, and is kept for that reason."
    )
    if ablation.left_out:
        page.text(f"Left out for want of time (`train_config.ablation_seconds`): {', '.join(ablation.left_out)}.")


def ablation_plot(ablation: Ablation) -> Figure:
    """The paired changes with their intervals; red: accuracy is lost beyond chance without it, green: gained."""
    rows = [row for row in ablation.rows[1:] if None not in (row.change, row.low, row.high)]
    figure, (axis,) = axes(7.0, 0.8 + 0.34 * len(rows))
    for place, row in enumerate(reversed(rows)):
        low, change, high = (100 * (value or 0) for value in (row.low, row.change, row.high))
        colour = MUTED if not row.decided else PALETTE[3] if change < 0 else PALETTE[2]
        axis.plot([low, high], [place, place], color=colour, linewidth=2)
        axis.plot(change, place, "o", color=colour)
    axis.axvline(0, color=MUTED, linestyle=":", linewidth=1)
    axis.set_yticks(range(len(rows)), [row.name for row in reversed(rows)])
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_xlabel("points of validation accuracy; grey: chance is not excluded")
    return figure


def ablation_sentence(ablation: Ablation) -> str:
    """The strongest ingredient, and how many of the changes can be told from chance."""
    rows = [row for row in ablation.rows[1:] if row.change is not None]
    decided = sum(row.decided for row in rows)
    strongest = min(rows, key=lambda row: row.change or 0.0)
    text = f"{decided} of {len(rows)} changes can be told from chance."
    if (strongest.change or 0) < 0:
        text += f" Most is lost {strongest.name}: {points(strongest.change or 0)}{'' if strongest.decided else ', which may be chance'}."
    else:
        text += " No run without an ingredient is below the run with all of them."
    speeds = {row.name: row.images_per_second for row in ablation.rows}
    return f"{text} {extremes('the speed of training, in images a second,', speeds, '{:,.0f}')}"


def _comparison(page: Page, findings: OptimizationFindings) -> None:
    difference = findings.difference
    page.section(
        "Against the baseline",
        "Both models answer the same test images, so they are compared image by image: images on which both are right or both are "
        "wrong say "
        "nothing about which is better, and the interval is that of Tango for paired proportions [[cite:tango1998]], widened where several "
        "images are of one group.",
    )
    gained, lost = difference.gained, difference.lost
    page.table(
        [
            {"images": "only the optimised model is right", "number": gained},
            {"images": "only the baseline is right", "number": lost},
            {"images": "both right, or both wrong", "number": difference.n - gained - lost},
        ],
        "The test images by who is right.",
        key="optimised-pairs",
    )
    page.text(
        "[[optimised-pairs]]: "
        f"{difference_sentence('the optimised model changes the accuracy by', difference.estimate, difference.low, difference.high)} "
        f"The models disagree about who is right on {percent((gained + lost) / difference.n)} of the images. "
        + compared("the optimised model", findings.trained.scores.test.accuracy, "the baseline", findings.baseline)
        + " Where the two statements seem to differ, the paired one counts: it takes out what is hard about the images themselves."
    )
