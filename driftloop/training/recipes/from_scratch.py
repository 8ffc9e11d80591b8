"""Fresh weights: one rate for all layers, the one at which the loss falls fastest."""

from driftloop.training.recipes.form import RecipeForm

#: Within the bounds Adam works on networks like these under OneCycle.
FROM_SCRATCH = RecipeForm(
    layer_decay=1.0,
    keep_statistics=False,
    tried_rates=(1e-4, 0.1),
    range_steps=72,
    suggested_rates=(1e-3, 1e-2),
    searched_rates=(3e-4, 1e-2),
    private_rate=1.6e-2,  # bench/privacy.py
)
