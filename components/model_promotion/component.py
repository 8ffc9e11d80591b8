"""Theme 7, promotion, as a KFP component."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model

from driftloop.runtime import WATCH_IMAGE


@dsl.component(base_image=WATCH_IMAGE, install_kfp_package=False)
def model_promotion(candidate: Input[Model], dataset: Input[Dataset], evidence: Input[Artifact], store: str) -> str:
    """Do what the gate decided: register the candidate and let it serve, or keep the champion.

    Args:
        candidate: the exported bundle that the gate judged.
        dataset: the dataset it was judged on.
        evidence: the gate's evidence (`gate.json`), which names the candidate, the dataset and the champion it was compared with.
        store: the model's home, `s3://bucket/prefix` or a folder.

    Returns:
        The version that serves now.
    """
    from components.model_promotion.step import run

    return run(candidate.path, dataset.path, evidence.path, store=store)
