"""The messages of the Open Inference Protocol over gRPC, from a table of their fields.

Names, numbers and types are those of the protocol (https://github.com/kserve/open-inference-protocol); the table stands here instead of
generated code, which would be tied to a version of protobuf. In a pool of their own: a process may load a client of the protocol as well,
whose messages have the same names.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE, SERVICE = "inference", "GRPCInferenceService"
#: Each takes `<name>Request` and gives `<name>Response`.
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
#: Field, number, type: a scalar of protobuf or a message of this table, `repeated`, or the `map` of names to messages.
Field = tuple[str, int, str]
_NAME_AND_VERSION: list[Field] = [("name", 1, "string"), ("version", 2, "string")]
_TENSOR: list[Field] = [("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "repeated int64")]
_TENSOR_AND_CONTENTS: list[Field] = [*_TENSOR, ("parameters", 4, "map InferParameter"), ("contents", 5, "InferTensorContents")]
_FIELDS: dict[str, list[Field]] = {
    "ServerLiveRequest": [],
    "ServerLiveResponse": [("live", 1, "bool")],
    "ServerReadyRequest": [],
    "ServerReadyResponse": [("ready", 1, "bool")],
    "ModelReadyRequest": _NAME_AND_VERSION,
    "ModelReadyResponse": [("ready", 1, "bool")],
    "ServerMetadataRequest": [],
    "ServerMetadataResponse": [*_NAME_AND_VERSION, ("extensions", 3, "repeated string")],
    "ModelMetadataRequest": _NAME_AND_VERSION,
    "ModelMetadataResponse": [
        ("name", 1, "string"),
        ("versions", 2, "repeated string"),
        ("platform", 3, "string"),
        ("inputs", 4, "repeated ModelMetadataResponse.TensorMetadata"),
        ("outputs", 5, "repeated ModelMetadataResponse.TensorMetadata"),
    ],
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": [
        ("bool_param", 1, "bool"),
        ("int64_param", 2, "int64"),
        ("string_param", 3, "string"),
        ("double_param", 4, "double"),
        ("uint64_param", 5, "uint64"),
    ],
    "InferTensorContents": [
        ("bool_contents", 1, "repeated bool"),
        ("int_contents", 2, "repeated int32"),
        ("int64_contents", 3, "repeated int64"),
        ("uint_contents", 4, "repeated uint32"),
        ("uint64_contents", 5, "repeated uint64"),
        ("fp32_contents", 6, "repeated float"),
        ("fp64_contents", 7, "repeated double"),
        ("bytes_contents", 8, "repeated bytes"),
    ],
    "ModelInferRequest": [
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "map InferParameter"),
        ("inputs", 5, "repeated ModelInferRequest.InferInputTensor"),
        ("outputs", 6, "repeated ModelInferRequest.InferRequestedOutputTensor"),
        ("raw_input_contents", 7, "repeated bytes"),
    ],
    "ModelInferRequest.InferInputTensor": _TENSOR_AND_CONTENTS,
    "ModelInferRequest.InferRequestedOutputTensor": [("name", 1, "string"), ("parameters", 2, "map InferParameter")],
    "ModelInferResponse": [
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "map InferParameter"),
        ("outputs", 5, "repeated ModelInferResponse.InferOutputTensor"),
        ("raw_output_contents", 6, "repeated bytes"),
    ],
    "ModelInferResponse.InferOutputTensor": _TENSOR_AND_CONTENTS,
}
#: Of its fields a message has one.
_ONE_OF = {"InferParameter": "parameter_choice"}


def file_descriptor() -> Any:
    """The protocol as a FileDescriptorProto: its messages and its service."""
    file = FileDescriptorProto(name="driftloop/open_inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name, fields in _FIELDS.items():
        outer, _, inner = name.rpartition(".")
        message = made[name] = (made[outer].nested_type if outer else file.message_type).add(name=inner)
        if name in _ONE_OF:
            message.oneof_decl.add(name=_ONE_OF[name])
        for field, number, kind in fields:
            added = _add(message, f".{PACKAGE}.{name}", field, number, kind)
            if name in _ONE_OF:
                added.oneof_index = 0
    methods = [{"name": name, "input_type": f".{PACKAGE}.{name}Request", "output_type": f".{PACKAGE}.{name}Response"} for name in METHODS]
    file.service.add(name=SERVICE, method=methods)
    return file


def _add(message: Any, path: str, name: str, number: int, kind: str) -> Any:
    label, _, of = kind.rpartition(" ")
    field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if label:
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if label == "map":  # to protobuf a list of pairs
        pair = message.nested_type.add(name=f"{name.capitalize()}Entry", options={"map_entry": True})
        _add(pair, "", "key", 1, "string")
        _add(pair, "", "value", 2, of)
        of = f"{path}.{pair.name}"
    elif of in _FIELDS:
        of = f".{PACKAGE}.{of}"
    if of.startswith("."):
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, of
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{of.upper()}")
    return field


def _classes() -> Mapping[str, Any]:
    pool = DescriptorPool()
    pool.Add(file_descriptor())
    return MappingProxyType({name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _FIELDS})


#: The classes of the messages by their names.
MESSAGES = _classes()
