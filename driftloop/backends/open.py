"""From a backend's name to the backend."""

from collections.abc import Callable

from driftloop.backends.base import Backend, BackendName, RunRequest


def open_backend(name: BackendName, request: RunRequest, tell: Callable[[str], None]) -> Backend:
    """The backend of that name, ready to run what is requested.

    Each is loaded when it is asked for: KFP takes a second, and Docker's package may not be there.

    Args:
        name: of the backend.
        request: what is to be run.
        tell: takes a line about what was not found or not checked, or what a person has to wait for.

    Raises:
        InputError, StoreError: something is missing or cannot be used as it is; a line each.
    """
    if name is BackendName.cluster:
        from driftloop.backends.cluster.backend import ClusterBackend

        return ClusterBackend(request, tell)
    if name is BackendName.docker:
        from driftloop.backends.docker import DockerBackend

        return DockerBackend(request, tell)
    from driftloop.backends.local import LocalBackend

    return LocalBackend(request)
