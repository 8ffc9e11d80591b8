"""The messages of the Open Inference Protocol over gRPC are those that its clients speak."""

import importlib.util
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from driftloop.serving.grpc_messages import MESSAGES, METHODS, PACKAGE, SERVICE, file_descriptor

#: What tritonclient 2.73.0 sends for this request.
SENT = (
    b'\n\x08champion\x12\x011\x1a\x04mine"\x13\n\x08tag.site\x12\x07\x1a\x05north'
    b"*\x15\n\x06images\x12\x05UINT8\x1a\x04\x01\x02\x02\x012\x0f\n\rprobabilities:\x04\x01\x02\x03\x04"
)


def test_a_request_of_triton_s_client_is_read_and_written_byte_by_byte() -> None:
    request = MESSAGES["ModelInferRequest"].FromString(SENT)
    made = MESSAGES["ModelInferRequest"](
        model_name="champion",
        model_version="1",
        id="mine",
        parameters={"tag.site": MESSAGES["InferParameter"](string_param="north")},
        inputs=[{"name": "images", "datatype": "UINT8", "shape": [1, 2, 2, 1]}],
        outputs=[{"name": "probabilities"}],
        raw_input_contents=[bytes([1, 2, 3, 4])],
    )
    assert request == made
    assert made.SerializeToString(deterministic=True) == SENT


def test_a_parameter_has_one_value() -> None:
    parameter = MESSAGES["InferParameter"](string_param="north")
    parameter.int64_param = 1
    assert (parameter.WhichOneof("parameter_choice"), parameter.string_param) == ("int64_param", "")


def shape(message: Descriptor) -> dict[str, Any]:
    """The fields of a message, down to those of its messages."""

    def of(field: FieldDescriptor) -> Any:
        inner = shape(field.message_type) if field.message_type else None
        chosen = field.containing_oneof.name if field.containing_oneof else None
        return field.number, field.type, field.is_repeated, field.is_packed, chosen, inner

    return {"entry": message.GetOptions().map_entry, **{field.name: of(field) for field in message.fields}}


def test_they_are_those_of_triton_s_client() -> None:
    if importlib.util.find_spec("tritonclient") is None:
        pytest.skip("tritonclient, which has the protocol's messages, is not installed")
    from tritonclient.grpc import service_pb2

    theirs = service_pb2.DESCRIPTOR.message_types_by_name
    methods = service_pb2.DESCRIPTOR.services_by_name[SERVICE].methods_by_name
    (service,) = file_descriptor().service
    assert [method.name for method in service.method] == list(METHODS)
    for method in service.method:
        named = methods[method.name]
        assert (method.input_type, method.output_type) == (f".{named.input_type.full_name}", f".{named.output_type.full_name}")
    for name, message in MESSAGES.items():
        if "." not in name:  # an inner one is compared with the one that holds it
            assert message.DESCRIPTOR.full_name == f"{PACKAGE}.{name}" == theirs[name].full_name
            assert shape(message.DESCRIPTOR) == shape(theirs[name])
