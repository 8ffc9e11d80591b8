"""How each kind of network is trained: a file a kind, which the first training and every retraining share."""

from driftloop.training.recipes.form import RecipeForm
from driftloop.training.recipes.from_scratch import FROM_SCRATCH
from driftloop.training.recipes.head_only import HEAD_ONLY
from driftloop.training.recipes.pretrained import PRETRAINED

__all__ = ["FROM_SCRATCH", "HEAD_ONLY", "PRETRAINED", "RecipeForm"]
