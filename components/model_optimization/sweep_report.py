"""The search's section of the page: what was tried, how far it came, and which of the values mattered."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.model_optimization.latency_limit import MARGIN, LatencyLimit
from components.model_optimization.sweep import BEST_SHARE, FEWEST_FOR_IMPORTANCE, OVER, WIDTH, Sweep, Trial
from driftloop.reporting import Page
from driftloop.reporting.plot_style import MUTED, PALETTE, axes
from driftloop.reporting.wording import percent

#: Rows of the table; a search of hundreds of trials is looked at in the figure.
MOST_ROWS = 50
#: What people call the values that are varied.
NAMES = {
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "label_smoothing": "label smoothing",
    "augmentation": "augmentation",
    WIDTH: "width",
}
#: What people call the accuracy that trials are judged by.
MEASURES = {"val_accuracy": "validation accuracy", "val_balanced": "balanced validation accuracy"}
#: How trials end, in a word for the table.
ENDS = {"complete": "gone through", "pruned": "cut short", OVER: "over the limit, not trained"}
#: The column of what an image costs.
LATENCY = "ms an image"


def add_sweep(page: Page, sweep: Sweep | None) -> None:
    """The section, or the sentence that there was no search."""
    if sweep is None:
        page.text(
            "No search over hyper-parameters was asked for (`train_config.sweep_trials` is 0): the values above are defaults and "
            "the range test's."
        )
        return
    page.section(
        "Search",
        "Optuna [[cite:akiba2019]] chose the values of each trial from what the trials before it reached [[cite:bergstra2011]], on the "
        "validation split. A trial that is below the median of the earlier ones in the second half of its epochs is cut short. The best "
        f"values were used below. {judged_sentence(sweep.trials)}",
    )
    measure = MEASURES[sweep.trials[0].measure]
    beside = " On the right, what an image costs the network of each trial." if sweep.limit else ""
    page.figure(history_plot(sweep), f"{measure.capitalize()} by trial, and the best so far.{beside}", key="optimised-search")
    page.text(f"[[optimised-search]]: {history_sentence(sweep.trials)}")
    if sweep.limit and any(trial.ended == OVER for trial in sweep.trials):
        page.text(over_sentence(sweep.trials))
    if sweep.importance:
        page.figure(
            importance_plot(sweep.importance), "Share of each value in what sets the best trials apart.", key="optimised-importance"
        )
        page.text(f"[[optimised-importance]]: {importance_sentence(sweep)}")
    else:
        page.text(no_importance_sentence(sweep.trials))
    if stays := [said for name, said in NAMES.items() if name not in (WIDTH, *sweep.trials[0].values)]:
        page.text(f"Not varied, since the settings give another value than usual: {', '.join(stays)}.")
    best = sorted(sweep.trials, key=lambda trial: (trial.ended != "complete", -(trial.accuracy or 0), trial.number))
    shown = sorted(best[:MOST_ROWS], key=lambda trial: trial.number)
    which = "Trials of the search" if len(shown) == len(sweep.trials) else f"The best {len(shown)} of {len(sweep.trials)} trials"
    page.table(
        [_row(trial) for trial in shown],
        f"{which}: values, the strength of the random views as a factor, and {measure}.",
        key="optimised-trials",
    )


def _row(trial: Trial) -> dict[str, object]:
    values = {NAMES[name]: f"{value:.1e}" if name in ("learning_rate", "weight_decay") else value for name, value in trial.values.items()}
    latency = {} if trial.latency_ms is None else {LATENCY: trial.latency_ms}
    return {"trial": trial.number, **values, **latency, MEASURES[trial.measure]: trial.accuracy, "ended": ENDS[trial.ended]}


def judged_sentence(trials: list[Trial]) -> str:
    """What trials are judged by, and why."""
    if trials[0].measure == "val_balanced":
        return "Trials are judged by the balanced accuracy, as epochs are: each class counts alike in it, as in the loss."
    return "Trials are judged by the accuracy, as epochs are: each image counts alike in it, as in the loss."


def history_plot(sweep: Sweep) -> Figure:
    """A point a trial, hollow where it was cut short, and the best so far of those that were not as a line.

    Where it is limited what an image may cost, beside it the trials by that, with a cross where it was too much.
    """
    trials = [trial for trial in sweep.trials if trial.ended != OVER]
    figure, (axis, *beside) = axes(7.0 if sweep.limit is None else 10.0, 3.0, 1 if sweep.limit is None else 2)
    for ended, label, face in (("complete", "gone through", PALETTE[0]), ("pruned", "cut short", "none")):
        some = [trial for trial in trials if trial.ended == ended]
        if some:
            numbers, accuracies = [trial.number for trial in some], [trial.reached for trial in some]
            edge = PALETTE[0] if ended == "complete" else MUTED
            axis.plot(numbers, accuracies, "o", markerfacecolor=face, markeredgecolor=edge, label=label)
    bests = [max((other.reached for other in finished(trials[: place + 1])), default=float("nan")) for place in range(len(trials))]
    axis.step([trial.number for trial in trials], bests, where="post", color=PALETTE[1], label="best so far")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="trial", ylabel=MEASURES[trials[0].measure])
    axis.legend()
    if sweep.limit and beside:
        _plot_latencies(beside[0], sweep.trials, sweep.limit)
    return figure


def _plot_latencies(axis: Axes, trials: list[Trial], limit: LatencyLimit) -> None:
    """What an image costs by trial, and the most that passes."""
    for over, label, marker, colour in ((False, "within the limit", "o", PALETTE[0]), (True, "over the limit", "x", PALETTE[1])):
        if some := [trial for trial in trials if (trial.ended == OVER) == over]:
            axis.plot([trial.number for trial in some], [trial.latency_ms or 0 for trial in some], marker, color=colour, label=label)
    axis.axhline(limit.limit_ms / (1 + MARGIN), color=MUTED, linestyle="--", label="limit less its margin")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="trial", ylabel="processor time, ms")
    axis.set_ylim(bottom=0)
    axis.legend()


def history_sentence(trials: list[Trial]) -> str:
    """How many trials went through, and what the best brought over the plan as it is."""
    done, trained = finished(trials), [trial for trial in trials if trial.ended != OVER]
    best = max(done, key=lambda trial: trial.reached)
    text = f"{len(done)} of {len(trained)} trials went through all of their epochs, the others were cut short."
    own, measure = next(trial for trial in trials if trial.own), MEASURES[trials[0].measure]
    name = "the first" if own.number == 1 else f"trial {own.number}"
    if best.number == own.number:
        return f"{text} None is better than {name}, which is the recipe as it was: its {measure} is {percent(own.reached)}."
    return (
        f"{text} The best is trial {best.number}, whose {measure} is {percent(best.reached)}; {name}, which is the recipe as it "
        f"was, has {percent(own.reached)}. The best of many trials reads too high on the images that chose it: the test split decides."
    )


def over_sentence(trials: list[Trial]) -> str:
    """How many trials were not trained, and why."""
    over = [trial for trial in trials if trial.ended == OVER]
    return (
        f"Trials beside these that took up a network which is too slow for the limit: {len(over)}. Times were measured before the search, "
        "so that nothing was trained in them, and they do not count. The best trial is one that keeps the limit."
    )


def importance_plot(importance: dict[str, float]) -> Figure:
    """A bar a value, the most important on top."""
    rows = sorted(importance.items(), key=lambda item: item[1])
    figure, (axis,) = axes(7.0, 0.8 + 0.34 * len(rows))
    axis.barh([NAMES[name] for name, _ in rows], [share for _, share in rows], color=PALETTE[0], height=0.6)
    axis.set_xlim(0, 1)
    axis.set_xlabel("importance, adding up to 1")
    return figure


def importance_sentence(sweep: Sweep) -> str:
    """What was compared, and which value comes first."""
    first, done = max(sweep.importance, key=lambda name: sweep.importance[name]), len(finished(sweep.trials))
    return (
        f"The best {100 * BEST_SHARE:.0f} % of the {done} trials that went through are set apart from the others by their values "
        f"(PED-ANOVA [[cite:watanabe2023]]): most by {NAMES[first]}, {percent(sweep.importance[first])} of it all. "
        "It says where in these ranges good trials lie, not what another range would bring."
    )


def no_importance_sentence(trials: list[Trial]) -> str:
    """Why nothing is said of importance."""
    if len(finished(trials)) >= FEWEST_FOR_IMPORTANCE:
        return (
            f"Which of the values mattered cannot be said: of the {len(finished(trials))} trials that went through, no "
            f"{100 * BEST_SHARE:.0f} % are better than the others."
        )
    return (
        f"Which of the values mattered cannot be said: {len(finished(trials))} trials went through all of their epochs, and fewer than "
        f"{FEWEST_FOR_IMPORTANCE} show chance (`train_config.sweep_trials`)."
    )


def finished(trials: list[Trial]) -> list[Trial]:
    """Those that went through all of their epochs."""
    return [trial for trial in trials if trial.ended == "complete"]
