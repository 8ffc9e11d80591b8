"""Weights from other images that stay as they are: only the head learns, by logistic regression in the first training.

That is exact and takes one pass over the images, so it has no rate; a retraining, which goes on from there with the images of production,
takes half of the suggested one.
"""

from driftloop.training.recipes.form import RecipeForm

HEAD_ONLY = RecipeForm(
    layer_decay=0.0,
    keep_statistics=True,
    tried_rates=(1e-4, 1e-1),
    range_steps=36,
    suggested_rates=(4e-3, 4e-3),
    searched_rates=(4e-3, 4e-3),
    private_rate=0.1,  # on scaled embeddings; 0.06 to 0.2 do alike (bench/privacy.py)
)
