"""What a run's steps have put out: their scalars, where their artifacts are, and bringing these into the run's folder.

KFP 2.17's own API does not say where artifacts are. Its UI asks the metadata store, by gRPC-web at the same address, and so does this:
four requests, in the few messages and fields of ML Metadata that they need. What is fetched is laid out as a local run leaves it.
"""

import struct
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import DESCRIPTOR as STRUCT_FILE

from driftloop.backends.cluster.connection import SIGNED_OUT, ClusterConnection, ClusterError
from driftloop.backends.run_folder import CHAMPION_FILES, DELIVERABLES, FACT_DIRECTORIES, REPORTED, RunFolder
from driftloop.bundle import DESCRIPTION, SUMS
from driftloop.contracts import CHAPTERS, FACTS, USED
from driftloop.errors import NotFound, StoreError
from driftloop.step_facts import write_json
from driftloop.store import open_store

#: gRPC's name of the metadata store, and what its messages are sent as.
SERVICE = "/ml_metadata.MetadataStoreService"
RUN_CONTEXT = "system.PipelineRun"
#: ML Metadata's numbers of an execution's states, and of the events that are outputs.
STATES = {2: "running", 3: "complete", 4: "failed", 5: "cached", 6: "canceled"}
OUTPUT_EVENT = 4
#: The flag of the frame that ends an answer: it holds the status, not a message.
FINAL_FRAME = 0x80
GRPC_WEB = "application/grpc-web+proto"
#: What a server answers that does not know the metadata store.
UNKNOWN_PATH = (404, 405)
#: Message -> field -> number and type; a type in brackets repeats. The numbers are ML Metadata's.
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Value": {"int_value": (1, "int64"), "string_value": (3, "string"), "struct_value": (4, "google.protobuf.Struct")},
    "Property": {"key": (1, "string"), "value": (2, "Value")},
    "Context": {"id": (1, "int64"), "name": (3, "string")},
    "Execution": {"id": (1, "int64"), "last_known_state": (3, "int64"), "custom_properties": (5, "[Property]")},
    "Artifact": {"id": (1, "int64"), "uri": (3, "string")},
    "PathStep": {"key": (2, "string")},
    "Path": {"steps": (1, "[PathStep]")},
    "Event": {"artifact_id": (1, "int64"), "execution_id": (2, "int64"), "path": (3, "Path"), "type": (4, "int64")},
    "GetContextByTypeAndNameRequest": {"type_name": (1, "string"), "context_name": (2, "string")},
    "GetContextByTypeAndNameResponse": {"context": (1, "Context")},
    "GetExecutionsByContextRequest": {"context_id": (1, "int64")},
    "GetExecutionsByContextResponse": {"executions": (1, "[Execution]")},
    "GetEventsByExecutionIDsRequest": {"execution_ids": (1, "[int64]")},
    "GetEventsByExecutionIDsResponse": {"events": (1, "[Event]")},
    "GetArtifactsByIDRequest": {"artifact_ids": (1, "[int64]")},
    "GetArtifactsByIDResponse": {"artifacts": (1, "[Artifact]")},
}
#: `<task>/<output>`, and a file in it where the output is a directory: what people look for, and what the summary is made of.
FETCHED = (
    *DELIVERABLES.values(),
    *(f"onnx-deployment*/candidate/{name}" for name in (*CHAMPION_FILES, DESCRIPTION, SUMS)),
    "synthesis-report*/summary",
    *(f"{directory}/{name}" for directory in (*FACT_DIRECTORIES, *REPORTED) for name in (FACTS, USED, CHAPTERS)),
)


@dataclass
class Execution:
    """A task of a run that was started."""

    task: str
    """KFP's name of it."""
    state: str
    """One of STATES."""
    parameters: dict[str, Any]
    """Its scalar outputs."""
    artifacts: dict[str, str] = field(default_factory=dict)
    """Output's name -> URI."""


def executions(connection: ClusterConnection, run_id: str) -> dict[str, Execution]:
    """The tasks of a run that were started, by KFP's name of the task; none where the run has not begun.

    Raises:
        ClusterError: the metadata store does not answer at this address.
    """
    context = _ask(connection, "GetContextByTypeAndName", type_name=RUN_CONTEXT, context_name=run_id).context
    if not context.id:
        return {}
    messages = _ask(connection, "GetExecutionsByContext", context_id=context.id).executions
    tasks = {message.id: _execution(message) for message in sorted(messages, key=lambda message: message.id)}
    if tasks:
        outputs = [
            event for event in _ask(connection, "GetEventsByExecutionIDs", execution_ids=list(tasks)).events if event.type == OUTPUT_EVENT
        ]
        ids = sorted({event.artifact_id for event in outputs})
        uris = {artifact.id: artifact.uri for artifact in _ask(connection, "GetArtifactsByID", artifact_ids=ids).artifacts}
        for event in outputs:
            tasks[event.execution_id].artifacts[event.path.steps[0].key] = uris.get(event.artifact_id, "")
    return {task.task: task for task in tasks.values() if task.task}


def why_unreachable(connection: ClusterConnection) -> str:
    """Why a run's reports will not be found through this endpoint; "" where they will."""
    try:
        executions(connection, "any-run")
    except ClusterError as error:
        return str(error)
    return ""


def _execution(message: Any) -> Execution:
    properties = {entry.key: entry.value for entry in message.custom_properties}

    def text(name: str) -> str:
        return properties[name].string_value if name in properties else ""

    outputs = json_format.MessageToDict(properties["outputs"].struct_value) if "outputs" in properties else {}
    return Execution(text("task_name"), STATES.get(message.last_known_state, ""), outputs)


def _ask(connection: ClusterConnection, method: str, **arguments: Any) -> Any:
    """Call a method of the metadata store; gRPC-web puts a flag and a length before each message."""
    request = _CLASSES[f"{method}Request"](**arguments).SerializeToString()
    framed = struct.pack(">BI", 0, len(request)) + request
    reply, position = b"", 0
    try:
        answer = _read(connection, f"{SERVICE}/{method}", framed)
        while position < len(answer):
            flag, length = struct.unpack_from(">BI", answer, position)
            content = answer[position + 5 : position + 5 + length]
            position += 5 + length
            if not flag & FINAL_FRAME:
                reply += content
            elif b"grpc-status:0" not in content.replace(b" ", b""):
                raise ClusterError(f"{connection.endpoint}: the metadata store answers {_line(content)}", 502)
        return _CLASSES[f"{method}Response"].FromString(reply)
    except (struct.error, DecodeError, ClusterError) as error:
        if isinstance(error, ClusterError) and error.status not in UNKNOWN_PATH:
            raise
        raise ClusterError(f"{connection.endpoint} does not lead to KFP's metadata store; let KFP_ENDPOINT name KFP's UI", 404) from None


def _read(connection: ClusterConnection, path: str, body: bytes) -> bytes:
    """Kubeflow's gateway has KFP's UI below /pipeline, and the metadata store at the root of the same host."""
    try:
        return connection.read(path, body=body, kind=GRPC_WEB)
    except ClusterError as error:
        root = connection.root
        if error.status not in UNKNOWN_PATH or root.endpoint == connection.endpoint:
            raise
        return root.read(path, body=body, kind=GRPC_WEB)


def _line(trailers: bytes) -> str:
    return " ".join(trailers.decode(errors="replace").split())[:200]


def _message_classes() -> dict[str, Any]:
    """The messages' classes, in a pool of their own: the real ML Metadata may be loaded, too."""
    pool = DescriptorPool()
    pool.AddSerializedFile(STRUCT_FILE.serialized_pb)
    package = "driftloop.metadata"
    file = FileDescriptorProto(name="driftloop_metadata.proto", package=package, syntax="proto3", dependency=[STRUCT_FILE.name])
    scalars = {"int64": FieldDescriptorProto.TYPE_INT64, "string": FieldDescriptorProto.TYPE_STRING}
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            entry = message.field.add(name=field_name, number=number)
            entry.label = FieldDescriptorProto.LABEL_REPEATED if kind.startswith("[") else FieldDescriptorProto.LABEL_OPTIONAL
            kind = kind.strip("[]")
            entry.type = scalars.get(kind, FieldDescriptorProto.TYPE_MESSAGE)
            if kind not in scalars:
                entry.type_name = f".{kind}" if "." in kind else f".{package}.{kind}"
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in MESSAGES}


_CLASSES = _message_classes()


def fetch_results(connection: ClusterConnection, run_id: str, folder: RunFolder) -> list[str]:
    """Download what FETCHED names of a run's artifacts to below `folder.artifacts`, and note each step's scalar outputs.

    Returns:
        What could not be had, a line for each.

    Raises:
        ClusterError: the metadata store, which knows where the artifacts are, does not answer.
    """
    missed = []
    for task in executions(connection, run_id).values():
        target = folder.artifacts / run_id / task.task
        if task.parameters:
            write_json(target / "executor_output.json", {"parameterValues": task.parameters})
        for uri, path in files_to_fetch(task, target):
            try:
                download(connection, uri, path)
            except (ClusterError, StoreError) as error:
                missed.append(f"{task.task}/{path.relative_to(target)}: {error}")
    return missed


def files_to_fetch(task: Execution, target: Path) -> list[tuple[str, Path]]:
    """The URIs of a task's files that are worth fetching, and the paths below `target` where they belong."""
    uris: dict[Path, str] = {}
    for pattern in FETCHED:
        task_pattern, output, *inside = pattern.split("/")
        uri = task.artifacts.get(output, "").partition("?")[0]
        if uri and task.state in ("complete", "cached") and fnmatchcase(task.task, task_pattern):
            uris[target.joinpath(output, *inside)] = "/".join([uri.rstrip("/"), *inside])
    return [(uri, path) for path, uri in uris.items()]


def download(connection: ClusterConnection, uri: str, path: Path) -> None:
    """Through KFP's UI, which has its own access to the bucket; where it is not at this address, from the bucket itself with AWS_*."""
    parts = urlsplit(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        content = connection.read(f"/artifacts/{parts.scheme}/{parts.netloc}{parts.path}", {"namespace": connection.namespace})
        path.write_bytes(content)
    except ClusterError as error:
        prefix, _, name = parts.path.strip("/").rpartition("/")
        try:
            open_store(f"s3://{parts.netloc}/{prefix}").download(name, path)
        except NotFound:
            raise ClusterError("it is not in the bucket", 404) from None
        except StoreError:
            if error.status in SIGNED_OUT:
                # With a token alone KFP's UI shows no artifact: it wants the name that Kubeflow's gateway puts beside it.
                cure = "let KFP_ENDPOINT name Kubeflow's gateway"
                raise ClusterError(
                    f"neither KFP's UI gives it to this token, nor bucket {parts.netloc} to AWS_*; {cure}", error.status
                ) from None
            raise error from None
