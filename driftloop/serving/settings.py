"""What a service may be told, with the limits on everything that comes from outside."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

#: What the application's lifespan calls the server of gRPC that it has started, for the process to end it.
GRPC_SERVER = "grpc_server"


class ServingSettings(BaseModel):
    """Settings of a service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_share: float = Field(1.0, ge=0, le=1, description="share of the requests whose image is kept in the log, by a hash of their id")
    poll_seconds: float = Field(2.0, ge=0.1, le=3600, description="how often the champion is looked for")
    flush_seconds: float = Field(10.0, ge=0.1, le=3600, description="that an answer waits at most for its way into the store's log")
    spool: Path | None = Field(None, description="folder that outlives the process: nothing in it is lost when it is killed")
    spool_mib: int = Field(1024, ge=1, le=1 << 20, description="that may lie there while the store is away, of all processes")
    processes: int = Field(1, ge=1, le=1024, description="that share port and spool")
    provider: str = Field("", description="onnxruntime's execution provider; empty takes the one that suits graph and machine")
    threads: int = Field(0, ge=0, le=1024, description="of a prediction; 0 takes the cores this process may use")
    workers: int = Field(0, ge=0, le=1024, description="threads that decode and predict; 0 takes one a core")
    most_queued: int = Field(256, ge=1, le=1 << 20, description="images that may wait; beyond it a request is turned away (503)")
    most_batched: int = Field(32, ge=1, le=1024, description="images of a batch")
    most_images: int = Field(64, ge=1, le=4096, description="images of a request")
    most_request_mib: int = Field(64, ge=1, le=1024, description="size of a request (413 beyond it)")
    most_megapixels: int = Field(40, ge=1, le=80, description="of an image (422 beyond it): decoding one takes 8 bytes a pixel or less")
    most_waiting_mib: int = Field(256, ge=1, le=1 << 16, description="of requests at once, of all processes (503 beyond it)")
    upload_seconds: float = Field(60.0, ge=0.1, le=3600, description="that a request may take to come in (408 beyond it)")
    patience_seconds: float = Field(10.0, ge=0.1, le=600, description="that an image may wait before its request is turned away (503)")
    api_keys: tuple[str, ...] = Field((), description="one of which callers must show; none lets everybody in")
    feedback_keys: tuple[str, ...] = Field((), description="for labels; none takes those above")
    siblings: Path | None = Field(None, description="folder in which the processes behind one port tell each other what they did")
