"""What a kind of network asks of its recipe beside the settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RecipeForm:
    """One kind of network."""

    layer_decay: float
    """What each layer's rate is multiplied with against the one above it; 1 for one rate everywhere, 0 for a head that learns alone."""
    keep_statistics: bool
    """Whether running statistics of batch norm stay."""
    tried_rates: tuple[float, float]
    """Range of the learning rates that the range test goes through."""
    range_steps: int
    """How many of them."""
    suggested_rates: tuple[float, float]
    """Its suggestion stays within these."""
    searched_rates: tuple[float, float]
    """Range of the learning rates that a search goes through; the suggestions lie within."""
    private_rate: float | None
    """In place of a suggestion with differential privacy, which allows for no range test; None for what cannot be trained so."""
