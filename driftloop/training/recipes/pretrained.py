"""Weights from other images: the head is fitted first, then all layers move, the lower the less.

The bounds of fresh weights would wreck these in the first steps. A range test on them costs as much as some epochs at the sizes that they
are for, and its curve hardly falls, since the head is fitted already: fewer steps, and tight bounds. Batch norm keeps its statistics: by
those of small batches of another kind of image the fitted head is wrong from the first step on.
"""

from driftloop.training.recipes.form import RecipeForm

PRETRAINED = RecipeForm(
    layer_decay=0.9,
    keep_statistics=True,
    tried_rates=(1e-5, 1e-2),
    range_steps=36,
    suggested_rates=(3e-4, 1e-3),
    searched_rates=(3e-5, 1e-3),
    private_rate=None,
)
