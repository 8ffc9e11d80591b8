"""Whether a store is this source's home: said before an hour of training, not by the gate after it."""

from driftloop import registry
from driftloop.errors import InputError
from driftloop.store import Store

MOST_NAMED = 6


def check_champion(store: Store, classes: list[str], image_size: int) -> None:
    """Refuse a source that no model could be trained on to follow the store's champion.

    Args:
        classes: of the source, sorted.
        image_size: side in pixels that its images will have.

    Raises:
        InputError: the champion knows other classes, or takes images of another size.
        StoreError: the store cannot be read.
    """
    champion = registry.current(store)
    if champion is None:
        return
    model = registry.description(store, champion.version)
    serving = f"{store.uri}: version {champion.version}, which serves there,"
    if list(model.classes) != classes:
        raise InputError(f"{serving} knows {named(model.classes)}, and this source has {named(classes)}; give another --store")
    if model.image_size != image_size:
        cure = f"give another --store, or data_image_size={model.image_size}"
        raise InputError(f"{serving} takes images of {model.image_size} px, not of {image_size}; {cure}")


def named(classes: list[str]) -> str:
    """The classes' names; of many, the first."""
    return ", ".join(classes) if len(classes) <= MOST_NAMED else f"{', '.join(classes[:MOST_NAMED])}, ... ({len(classes)})"
