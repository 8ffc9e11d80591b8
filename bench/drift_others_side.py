"""The other tools' half of `bench.drift_beside_others`: runs in an environment that has evidently, or alibi-detect, and not driftloop.

    python drift_others_side.py TOOL DATA.npz SLOW PART        prints one line of JSON

TOOL is `evidently` or `alibi-detect`, and PART 0 or 1, every second of its methods. The data hold `embedding` (N, D) and `statistics` (N,
F) of all images, and for each kind of window the rows of its references and windows, `KIND|reference` (W, 800) and `KIND|window` (W, n).
What costs a second a window is done for the first SLOW clean ones, and has no score.
"""

import functools
import json
import platform
import sys
import warnings
from importlib.metadata import version

import numpy as np

CLEAN = "clean"


def evidently(data, slow: int, part: int) -> dict:
    """Methods by name: a function of two arrays of embeddings, two of statistics, that gives score and alarm."""
    import evidently.legacy.metrics.data_drift.embedding_drift_methods as methods
    import pandas as pd
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    # The same labels give the same area: those of windows of one size need to be computed once.
    areas = functools.lru_cache(None)(lambda labels, seed: plain(np.frombuffer(labels, np.int64), seed))
    plain, methods.calc_roc_auc_random = methods.calc_roc_auc_random, lambda y, seed: areas(y.to_numpy(np.int64).tobytes(), seed)

    def embeddings(method):
        def test(reference, window, *_):
            score, alarm, _ = method(pd.DataFrame(window), pd.DataFrame(reference))
            return float(score), bool(alarm)

        return test

    def share(reference, window) -> tuple[float, bool]:
        """As `DriftedColumnsCount` counts, which alarms from half of the columns on."""
        drifted = 0
        for a, b in zip(reference.T, window.T, strict=True):
            before, now = pd.Series(a), pd.Series(b)
            test = get_stattest(before, now, ColumnType.Numerical, None)
            drifted += test(before, now, ColumnType.Numerical, None).drifted
        return drifted / reference.shape[1], bool(drifted / reference.shape[1] >= 0.5)

    found = {
        # `EmbeddingsDrift` without a method takes this one, with the bootstrap for references below 1,000 rows.
        "EmbeddingsDrift (its default: a classifier's area, bootstrap)": embeddings(methods.model(bootstrap=True)),
        "EmbeddingsDrift, ratio of columns": embeddings(methods.ratio()),
        "EmbeddingsDrift, distance of means": embeddings(methods.distance()),
        "EmbeddingsDrift, MMD": embeddings(methods.mmd()),
        "DataDriftPreset, columns of the embedding (KS)": lambda a, b, *_: share(a, b),
        "DataDriftPreset, columns of the statistics (KS)": lambda a, b, c, d: share(c, d),
    }
    few = {
        "EmbeddingsDrift, distance of means, bootstrap": embeddings(methods.distance(bootstrap=True)),
        "EmbeddingsDrift, MMD, bootstrap": embeddings(methods.mmd(bootstrap=True)),
    }
    return answers(data, found, few, slow, part) | ({} if part else {"agrees": agrees_with_report(data, found)})


def agrees_with_report(data, found: dict) -> bool:
    """Whether the functions called here say of one clean window what the reports say that users make."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import DriftedColumnsCount, EmbeddingsDrift

    reference, window, *_ = drawn(data, CLEAN, 0)
    names = [f"e{number}" for number in range(reference.shape[1])]
    definition = DataDefinition(numerical_columns=names, embeddings={"e": names})
    sides = [Dataset.from_pandas(pd.DataFrame(side, columns=names), data_definition=definition) for side in (window, reference)]
    report = Report([EmbeddingsDrift(embeddings_name="e"), DriftedColumnsCount(columns=names)]).run(*sides).dict()
    area, count = (metric["value"] for metric in report["metrics"])
    ours = [test(*drawn(data, CLEAN, 0))[0] for name, test in found.items() if "default" in name or "embedding (KS)" in name]
    return bool(np.allclose(ours, [area, count["share"]]))


def alibi(data, slow: int, part: int) -> dict:
    """The same for alibi-detect."""
    from alibi_detect.cd import KSDrift, MMDDrift

    def ks(reference, window):
        answer = KSDrift(reference, p_val=0.05).predict(window)["data"]
        return -float(np.min(answer["p_val"])), bool(answer["is_drift"])

    def mmd(permutations: int):
        def test(reference, window, *_):
            answer = MMDDrift(reference, backend="pytorch", device="cpu", n_permutations=permutations).predict(window)["data"]
            return float(answer["distance"]), bool(answer["is_drift"])

        return test

    found = {
        "KSDrift on the embedding": lambda a, b, *_: ks(a, b),
        # Its distance is the same however many permutations there are.
        "MMDDrift": mmd(1),
        "KSDrift on the statistics": lambda a, b, c, d: ks(c, d),
    }
    return answers(data, found, {"MMDDrift": mmd(100)}, slow, part)


def drawn(data, kind: str, number: int) -> tuple[np.ndarray, ...]:
    reference, window = data[f"{kind}|reference"][number], data[f"{kind}|window"][number]
    return tuple(data[name][rows] for name in ("embedding", "statistics") for rows in (reference, window))


def answers(data, found: dict, few: dict, slow: int, part: int) -> dict:
    """By method and kind of window its scores; alarms on clean windows at its own threshold (of slow ones on fewer)."""
    found, few = (dict(list(methods.items())[part::2]) for methods in (found, few))
    kinds = [name.removesuffix("|window") for name in data if name.endswith("|window")]
    scores: dict = {name: {kind: [] for kind in kinds} for name in found}
    alarms: dict = {name: [] for name in found}
    for kind in kinds:
        for number in range(len(data[f"{kind}|window"])):
            arrays = drawn(data, kind, number)
            for name, test in found.items():
                score, alarm = test(*arrays)
                scores[name][kind].append(score)
                if kind == CLEAN:
                    alarms[name].append(alarm)
        print(kind, file=sys.stderr, flush=True)
    slowly = {name: [test(*drawn(data, CLEAN, number))[1] for number in range(slow)] for name, test in few.items()}
    return {"scores": scores, "alarms": alarms, "slow": slowly}


def main(tool: str, path: str, slow: str, part: str) -> None:
    with np.load(path) as arrays:
        data = dict(arrays)
    result = {"evidently": evidently, "alibi-detect": alibi}[tool](data, int(slow), int(part))
    beside = {"evidently": "pandas", "alibi-detect": "torch"}[tool]
    versions = f"{version(tool)} (numpy {np.__version__}, {beside} {version(beside)}, Python {platform.python_version()})"
    print(json.dumps(result | {"versions": versions}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
