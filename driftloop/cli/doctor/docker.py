"""`driftloop doctor --on docker`: the engine, the images, a GPU for containers."""

from typing import Any

from driftloop.cli.doctor.check import Check, failed, not_checked, ok, refused
from driftloop.errors import InputError
from driftloop.runtime import TRAIN_IMAGE, WATCH_IMAGE


def check_docker() -> list[Check]:
    """What `--on docker` needs."""
    from driftloop.backends.docker import BUILD, MINIO_IMAGE, connect_to_engine

    try:
        client = connect_to_engine()
    except InputError as error:
        return [refused("Docker", error)]
    checks = [ok("Docker", f"engine {client.version()['Version']} answers"), _gpu(client)]
    return checks + [_image(client, name, from_sources=BUILD.exists()) for name in (WATCH_IMAGE, TRAIN_IMAGE, MINIO_IMAGE)]


def _image(client: Any, name: str, *, from_sources: bool) -> Check:
    images = client.images.list(name=name)
    if images:
        return ok(f"image {name}", f"{images[0].attrs['Size'] / 1e9:.1f} GB")
    if from_sources:
        return not_checked(f"image {name}", "not built yet; the first run that needs it builds it, or `make images`")
    return failed(f"image {name}", "is not here", "build it in a checkout of driftloop with `make images`")


def _gpu(client: Any) -> Check:
    if "nvidia" in client.info().get("Runtimes", {}):
        return ok("GPU in containers", "the engine has NVIDIA's runtime; --gpus 1 uses it")
    return not_checked("GPU in containers", "the engine has no NVIDIA runtime; --gpus 0 trains on the CPU")
