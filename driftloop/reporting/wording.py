"""Sentences from numbers: each rule reads the numbers that its figure is drawn from, so that text and figure cannot disagree.

Units: accuracies and their differences are proportions; text says them in per cent and in points (hundredths).
"""

from collections.abc import Mapping, Sequence

from driftloop.evaluation.intervals import Proportion
from driftloop.plurals import counted

#: Expected calibration errors closer than this are called equal: half of what is printed.
SAME_CALIBRATION = 0.0005


def percent(share: float) -> str:
    """A proportion as people read it: 0.8734 -> "87.3 %"."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of proportions, with its sign: 0.0123 -> "+1.2 points"."""
    return f"{_signed(100 * difference)} points"


def interval(low: float, high: float) -> str:
    """An interval of proportions: "85.2 to 89.1 %"."""
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def points_interval(low: float, high: float) -> str:
    """An interval of differences: "-0.4 to +1.9 points"."""
    return f"{_signed(100 * low)} to {_signed(100 * high)} points"


def _signed(value: float, digits: int = 1) -> str:
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def with_interval(share: Proportion) -> str:
    """ "87.3 % (95 % interval 85.2 to 89.1 %, 1,200 images)"."""
    return f"{percent(share.value)} (95 % interval {interval(share.low, share.high)}, {share.n:,} images{share.of_groups})"


def share_cells(share: Proportion) -> dict[str, object]:
    """A share with its interval as cells of a table."""
    return {
        "accuracy": percent(share.value),
        "95 % interval": interval(share.low, share.high),
        "n": share.n,
        "groups": share.groups or None,
    }


def compared(first: str, a: Proportion, second: str, b: Proportion) -> str:
    """Which of two accuracies is higher, and whether their intervals are apart."""
    if round(100 * a.value, 1) == round(100 * b.value, 1):
        return f"{_capital(first)} and {second} reach the same accuracy, {percent(a.value)}."
    (high_name, high), (low_name, low) = sorted(((first, a), (second, b)), key=lambda pair: -pair[1].value)
    apart = (
        "their 95 % intervals do not overlap"
        if high.low > low.high
        else "their 95 % intervals overlap, so that by these alone chance is not excluded"
    )
    return (
        f"{_capital(high_name)} reaches {percent(high.value)} and {low_name} {percent(low.value)}, a difference of "
        f"{100 * (high.value - low.value):.1f} points; {apart}."
    )


def difference_sentence(what: str, estimate: float, low: float, high: float) -> str:
    """A difference with its two-sided 95 % interval, and what it shows."""
    if low > 0:
        shown = "the interval lies above zero: a gain is shown"
    elif high < 0:
        shown = "the interval lies below zero: a loss is shown"
    else:
        shown = "the interval contains zero: neither a gain nor a loss is shown"
    return f"{what} {points(estimate)} (95 % interval {points_interval(low, high)}); {shown}."


def extremes(what: str, values: Mapping[str, float], show: str = "{:.3f}") -> str:
    """The least and the greatest of named values, and how far they are apart."""
    if len(values) < 2:
        return ""
    low, high = min(values, key=lambda name: values[name]), max(values, key=lambda name: values[name])
    if show.format(values[low]) == show.format(values[high]):
        return f"{_capital(what)} is the same everywhere: {show.format(values[low])}."
    return f"{_capital(what)} is highest for {high} ({show.format(values[high])}) and lowest for {low} ({show.format(values[low])})."


def balance_sentence(counts: Mapping[str, int]) -> str:
    """How even classes are, and what a model that always says the commonest would reach."""
    total = sum(counts.values())
    if not total or len(counts) < 2:
        return ""
    common, rare = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    if counts[common] == counts[rare]:
        return f"All classes have {counts[rare]:,} images; a model that always gave the same answer would reach {percent(1 / len(counts))}."
    ratio = "and none of"
    if counts[rare]:
        times = counts[common] / counts[rare]
        ratio = f"{times:.1f} times as many as" if times >= 1.05 else "hardly more than"
    return (
        f"The commonest class is {common} with {counts[common]:,} of {total:,} images, {ratio} {rare}; a model that always answered "
        f"{common} would reach {percent(counts[common] / total)}: accuracies are to be read against that figure."
    )


def curve_sentence(train: Sequence[float], val: Sequence[float], best: int) -> str:
    """What the losses of a training say: whether it had ended, and whether it went on learning by heart.

    Args:
        train, val: loss by epoch.
        best: the kept epoch, counted from 1.
    """
    last = len(val)
    lowest = min(range(last), key=lambda index: val[index]) + 1
    sentences = [
        f"The training loss goes from {train[0]:.3f} to {train[-1]:.3f} and the validation loss from {val[0]:.3f} to {val[-1]:.3f}; "
        f"the latter is lowest in epoch {lowest} ({val[lowest - 1]:.3f})."
    ]
    rise = val[-1] - val[lowest - 1]
    if lowest == last:
        sentences.append("It is lowest at the very end: these curves do not show that longer training would have been in vain.")
    elif rise > 0.1 * val[lowest - 1]:
        sentences.append(
            f"From there to the end it rises by {rise:.3f} while the training loss "
            f"{'falls on' if train[-1] < train[lowest - 1] else 'does not fall'}: "
            f"{'the network learns its images by heart' if train[-1] < train[lowest - 1] else 'the training had become unstable'}, "
            "which is why an earlier epoch may be kept."
        )
    else:
        sentences.append(
            f"From there to the end it rises by {rise:.3f}, less than a tenth: nothing was lost by going on, and little gained."
        )
    gap = val[best - 1] - train[best - 1]
    sentences.append(
        f"In the kept epoch {best} the validation loss is {abs(gap):.3f} {'above' if gap >= 0 else 'below'} the training loss"
        + (
            "."
            if gap >= 0
            else ": the training loss is measured while the network still learns, with augmentation and smoothing where the recipe has "
            "them, so this is no sign of a leak."
        )
    )
    return " ".join(sentences)


def confusion_sentence(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """The commonest confusion of a test, and how the errors are shared."""
    errors = {
        (true, predicted): confusion[true][predicted]
        for true in range(len(classes))
        for predicted in range(len(classes))
        if true != predicted
    }
    wrong, total = sum(errors.values()), sum(sum(row) for row in confusion)
    if not wrong:
        return f"All {total:,} images are classified correctly; so few images do not show that there are no errors."
    (true, predicted), count = max(errors.items(), key=lambda item: item[1])
    of_class = sum(confusion[true])
    return (
        f"{wrong:,} of {total:,} images {'is' if wrong == 1 else 'are'} wrong. "
        f"The commonest error is {classes[true]} taken for {classes[predicted]}: {counted(count, 'image')}, "
        f"{percent(count / wrong)} of all errors and {percent(count / of_class)} of the images of {classes[true]}."
    )


def calibration_sentence(before: float, after: float, temperature: float, images: int) -> str:
    """What a temperature does to the expected calibration error of images that had no part in fitting it."""
    if temperature == 1:
        return f"No temperature is applied; on {images:,} test images the expected calibration error is {after:.3f}."
    if abs(after - before) < SAME_CALIBRATION:
        verdict = "which is no change at the digits shown"
    elif after < before:
        verdict = "so the temperature helps on images that it has not seen"
    else:
        verdict = "so on these images it does not help"
    return (
        f"On {images:,} test images, which had no part in the fit, the expected calibration error is {before:.3f} without the temperature "
        f"and {after:.3f} with it, {verdict}."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
