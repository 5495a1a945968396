from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeliveryPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_POLICY_UNSPECIFIED: _ClassVar[DeliveryPolicy]
    DELIVERY_POLICY_LIVE: _ClassVar[DeliveryPolicy]
    DELIVERY_POLICY_LOSSLESS: _ClassVar[DeliveryPolicy]

class PixelFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PIXEL_FORMAT_UNSPECIFIED: _ClassVar[PixelFormat]
    PIXEL_FORMAT_GRAY8: _ClassVar[PixelFormat]
    PIXEL_FORMAT_RGB8: _ClassVar[PixelFormat]
    PIXEL_FORMAT_BGR8: _ClassVar[PixelFormat]
    PIXEL_FORMAT_JPEG: _ClassVar[PixelFormat]
DELIVERY_POLICY_UNSPECIFIED: DeliveryPolicy
DELIVERY_POLICY_LIVE: DeliveryPolicy
DELIVERY_POLICY_LOSSLESS: DeliveryPolicy
PIXEL_FORMAT_UNSPECIFIED: PixelFormat
PIXEL_FORMAT_GRAY8: PixelFormat
PIXEL_FORMAT_RGB8: PixelFormat
PIXEL_FORMAT_BGR8: PixelFormat
PIXEL_FORMAT_JPEG: PixelFormat

class FrameMessage(_message.Message):
    __slots__ = ("open", "frame")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    open: OpenStream
    frame: Frame
    def __init__(self, open: _Optional[_Union[OpenStream, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ...) -> None: ...

class OpenStream(_message.Message):
    __slots__ = ("stream", "model", "policy", "return_poses", "clock_id", "shared_memory", "priority", "max_frames_per_second", "crop")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    RETURN_POSES_FIELD_NUMBER: _ClassVar[int]
    CLOCK_ID_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAMES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    stream: str
    model: str
    policy: DeliveryPolicy
    return_poses: bool
    clock_id: str
    shared_memory: bool
    priority: int
    max_frames_per_second: float
    crop: Crop
    def __init__(self, stream: _Optional[str] = ..., model: _Optional[str] = ..., policy: _Optional[_Union[DeliveryPolicy, str]] = ..., return_poses: bool = ..., clock_id: _Optional[str] = ..., shared_memory: bool = ..., priority: _Optional[int] = ..., max_frames_per_second: _Optional[float] = ..., crop: _Optional[_Union[Crop, _Mapping]] = ...) -> None: ...

class Crop(_message.Message):
    __slots__ = ("width", "height", "confidence")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    confidence: float
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., confidence: _Optional[float] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("sequence", "captured_client_ns", "sent_client_ns", "width", "height", "format", "data", "client", "clock_offset_ns", "clock_uncertainty_ns")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_CLIENT_NS_FIELD_NUMBER: _ClassVar[int]
    SENT_CLIENT_NS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_NS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_UNCERTAINTY_NS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    captured_client_ns: int
    sent_client_ns: int
    width: int
    height: int
    format: PixelFormat
    data: bytes
    client: ClientCounters
    clock_offset_ns: int
    clock_uncertainty_ns: int
    def __init__(self, sequence: _Optional[int] = ..., captured_client_ns: _Optional[int] = ..., sent_client_ns: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., format: _Optional[_Union[PixelFormat, str]] = ..., data: _Optional[bytes] = ..., client: _Optional[_Union[ClientCounters, _Mapping]] = ..., clock_offset_ns: _Optional[int] = ..., clock_uncertainty_ns: _Optional[int] = ...) -> None: ...

class ClientCounters(_message.Message):
    __slots__ = ("sent", "dropped_outbox", "lost_connection")
    SENT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_OUTBOX_FIELD_NUMBER: _ClassVar[int]
    LOST_CONNECTION_FIELD_NUMBER: _ClassVar[int]
    sent: int
    dropped_outbox: int
    lost_connection: int
    def __init__(self, sent: _Optional[int] = ..., dropped_outbox: _Optional[int] = ..., lost_connection: _Optional[int] = ...) -> None: ...

class TrackReply(_message.Message):
    __slots__ = ("opened", "ack", "pose", "closed")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    POSE_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    ack: Ack
    pose: Pose
    closed: Closed
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., pose: _Optional[_Union[Pose, _Mapping]] = ..., closed: _Optional[_Union[Closed, _Mapping]] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("server_id", "session_id", "clock_id", "window", "model_spec", "shared_memory", "shared_memory_event")
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CLOCK_ID_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    MODEL_SPEC_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_EVENT_FIELD_NUMBER: _ClassVar[int]
    server_id: str
    session_id: int
    clock_id: str
    window: int
    model_spec: str
    shared_memory: str
    shared_memory_event: str
    def __init__(self, server_id: _Optional[str] = ..., session_id: _Optional[int] = ..., clock_id: _Optional[str] = ..., window: _Optional[int] = ..., model_spec: _Optional[str] = ..., shared_memory: _Optional[str] = ..., shared_memory_event: _Optional[str] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("sequence", "received_ns", "acked_ns", "counters")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_NS_FIELD_NUMBER: _ClassVar[int]
    ACKED_NS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    received_ns: int
    acked_ns: int
    counters: StreamCounters
    def __init__(self, sequence: _Optional[int] = ..., received_ns: _Optional[int] = ..., acked_ns: _Optional[int] = ..., counters: _Optional[_Union[StreamCounters, _Mapping]] = ...) -> None: ...

class Closed(_message.Message):
    __slots__ = ("counters",)
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    counters: StreamCounters
    def __init__(self, counters: _Optional[_Union[StreamCounters, _Mapping]] = ...) -> None: ...

class StreamCounters(_message.Message):
    __slots__ = ("client", "received", "published", "dropped_mailbox", "failed", "dropped_rate")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_MAILBOX_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_RATE_FIELD_NUMBER: _ClassVar[int]
    client: ClientCounters
    received: int
    published: int
    dropped_mailbox: int
    failed: int
    dropped_rate: int
    def __init__(self, client: _Optional[_Union[ClientCounters, _Mapping]] = ..., received: _Optional[int] = ..., published: _Optional[int] = ..., dropped_mailbox: _Optional[int] = ..., failed: _Optional[int] = ..., dropped_rate: _Optional[int] = ...) -> None: ...

class Stamps(_message.Message):
    __slots__ = ("captured_ns", "received_ns", "inference_started_ns", "inference_ended_ns", "published_ns", "captured_client_ns", "clock_uncertainty_ns", "keypoints_ns")
    CAPTURED_NS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_NS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_STARTED_NS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_ENDED_NS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_NS_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_CLIENT_NS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_UNCERTAINTY_NS_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_NS_FIELD_NUMBER: _ClassVar[int]
    captured_ns: int
    received_ns: int
    inference_started_ns: int
    inference_ended_ns: int
    published_ns: int
    captured_client_ns: int
    clock_uncertainty_ns: int
    keypoints_ns: int
    def __init__(self, captured_ns: _Optional[int] = ..., received_ns: _Optional[int] = ..., inference_started_ns: _Optional[int] = ..., inference_ended_ns: _Optional[int] = ..., published_ns: _Optional[int] = ..., captured_client_ns: _Optional[int] = ..., clock_uncertainty_ns: _Optional[int] = ..., keypoints_ns: _Optional[int] = ...) -> None: ...

class Pose(_message.Message):
    __slots__ = ("stream", "sequence", "stamps", "keypoints", "instances", "keypoint_names", "model", "server_id", "session_id", "counters", "width", "height", "model_sha256", "crop")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STAMPS_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    KEYPOINT_NAMES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    stream: str
    sequence: int
    stamps: Stamps
    keypoints: _containers.RepeatedScalarFieldContainer[float]
    instances: int
    keypoint_names: _containers.RepeatedScalarFieldContainer[str]
    model: str
    server_id: str
    session_id: int
    counters: StreamCounters
    width: int
    height: int
    model_sha256: str
    crop: CropView
    def __init__(self, stream: _Optional[str] = ..., sequence: _Optional[int] = ..., stamps: _Optional[_Union[Stamps, _Mapping]] = ..., keypoints: _Optional[_Iterable[float]] = ..., instances: _Optional[int] = ..., keypoint_names: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., server_id: _Optional[str] = ..., session_id: _Optional[int] = ..., counters: _Optional[_Union[StreamCounters, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., model_sha256: _Optional[str] = ..., crop: _Optional[_Union[CropView, _Mapping]] = ...) -> None: ...

class CropView(_message.Message):
    __slots__ = ("x", "y", "width", "height", "searched", "lost")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    x: int
    y: int
    width: int
    height: int
    searched: bool
    lost: bool
    def __init__(self, x: _Optional[int] = ..., y: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., searched: bool = ..., lost: bool = ...) -> None: ...

class StreamEvent(_message.Message):
    __slots__ = ("stream", "kind", "time_ns", "message", "server_id", "session_id", "counters", "trigger")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[StreamEvent.Kind]
        KIND_OPENED: _ClassVar[StreamEvent.Kind]
        KIND_CLOSED: _ClassVar[StreamEvent.Kind]
        KIND_FAILED: _ClassVar[StreamEvent.Kind]
        KIND_SWAPPED: _ClassVar[StreamEvent.Kind]
        KIND_TRIGGERED: _ClassVar[StreamEvent.Kind]
    KIND_UNSPECIFIED: StreamEvent.Kind
    KIND_OPENED: StreamEvent.Kind
    KIND_CLOSED: StreamEvent.Kind
    KIND_FAILED: StreamEvent.Kind
    KIND_SWAPPED: StreamEvent.Kind
    KIND_TRIGGERED: StreamEvent.Kind
    STREAM_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    stream: str
    kind: StreamEvent.Kind
    time_ns: int
    message: str
    server_id: str
    session_id: int
    counters: StreamCounters
    trigger: Trigger
    def __init__(self, stream: _Optional[str] = ..., kind: _Optional[_Union[StreamEvent.Kind, str]] = ..., time_ns: _Optional[int] = ..., message: _Optional[str] = ..., server_id: _Optional[str] = ..., session_id: _Optional[int] = ..., counters: _Optional[_Union[StreamCounters, _Mapping]] = ..., trigger: _Optional[_Union[Trigger, _Mapping]] = ...) -> None: ...

class Trigger(_message.Message):
    __slots__ = ("name", "edge", "output", "number", "sequence", "captured_ns", "decided_ns", "values")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    EDGE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_NS_FIELD_NUMBER: _ClassVar[int]
    DECIDED_NS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    name: str
    edge: str
    output: str
    number: int
    sequence: int
    captured_ns: int
    decided_ns: int
    values: _containers.ScalarMap[str, float]
    def __init__(self, name: _Optional[str] = ..., edge: _Optional[str] = ..., output: _Optional[str] = ..., number: _Optional[int] = ..., sequence: _Optional[int] = ..., captured_ns: _Optional[int] = ..., decided_ns: _Optional[int] = ..., values: _Optional[_Mapping[str, float]] = ...) -> None: ...

class ServerStatus(_message.Message):
    __slots__ = ("server_id", "time_ns", "started_ns", "models", "streams", "version", "clock_id", "shared_memory")
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    STARTED_NS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CLOCK_ID_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    server_id: str
    time_ns: int
    started_ns: int
    models: _containers.RepeatedScalarFieldContainer[str]
    streams: _containers.RepeatedScalarFieldContainer[str]
    version: str
    clock_id: str
    shared_memory: str
    def __init__(self, server_id: _Optional[str] = ..., time_ns: _Optional[int] = ..., started_ns: _Optional[int] = ..., models: _Optional[_Iterable[str]] = ..., streams: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ..., clock_id: _Optional[str] = ..., shared_memory: _Optional[str] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("name", "spec", "sha256", "provider", "device", "precision", "warm_up_ms", "inference_ms", "streams", "threads", "cores", "batch_times", "batches")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    WARM_UP_MS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_MS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    BATCH_TIMES_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: str
    sha256: str
    provider: str
    device: str
    precision: str
    warm_up_ms: float
    inference_ms: float
    streams: _containers.RepeatedScalarFieldContainer[str]
    threads: int
    cores: _containers.RepeatedScalarFieldContainer[int]
    batch_times: _containers.RepeatedCompositeFieldContainer[BatchTime]
    batches: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[str] = ..., sha256: _Optional[str] = ..., provider: _Optional[str] = ..., device: _Optional[str] = ..., precision: _Optional[str] = ..., warm_up_ms: _Optional[float] = ..., inference_ms: _Optional[float] = ..., streams: _Optional[_Iterable[str]] = ..., threads: _Optional[int] = ..., cores: _Optional[_Iterable[int]] = ..., batch_times: _Optional[_Iterable[_Union[BatchTime, _Mapping]]] = ..., batches: _Optional[_Iterable[int]] = ...) -> None: ...

class BatchTime(_message.Message):
    __slots__ = ("frames", "inference_ms")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_MS_FIELD_NUMBER: _ClassVar[int]
    frames: int
    inference_ms: float
    def __init__(self, frames: _Optional[int] = ..., inference_ms: _Optional[float] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("name", "file")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    name: str
    file: str
    def __init__(self, name: _Optional[str] = ..., file: _Optional[str] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelInfo
    def __init__(self, model: _Optional[_Union[ModelInfo, _Mapping]] = ...) -> None: ...

class SwapModelRequest(_message.Message):
    __slots__ = ("name", "file")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    name: str
    file: str
    def __init__(self, name: _Optional[str] = ..., file: _Optional[str] = ...) -> None: ...

class SwapModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelInfo
    def __init__(self, model: _Optional[_Union[ModelInfo, _Mapping]] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Percentiles(_message.Message):
    __slots__ = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_MS_FIELD_NUMBER: _ClassVar[int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    def __init__(self, p50_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., p99_ms: _Optional[float] = ..., max_ms: _Optional[float] = ...) -> None: ...

class StreamInfo(_message.Message):
    __slots__ = ("name", "model", "policy", "format", "width", "height", "counters", "frames_per_second", "age", "wait", "inference", "peer", "session_id", "opened_ns", "priority", "max_frames_per_second", "crop")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    OPENED_NS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAMES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    policy: DeliveryPolicy
    format: PixelFormat
    width: int
    height: int
    counters: StreamCounters
    frames_per_second: float
    age: Percentiles
    wait: Percentiles
    inference: Percentiles
    peer: str
    session_id: int
    opened_ns: int
    priority: int
    max_frames_per_second: float
    crop: Crop
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., policy: _Optional[_Union[DeliveryPolicy, str]] = ..., format: _Optional[_Union[PixelFormat, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., counters: _Optional[_Union[StreamCounters, _Mapping]] = ..., frames_per_second: _Optional[float] = ..., age: _Optional[_Union[Percentiles, _Mapping]] = ..., wait: _Optional[_Union[Percentiles, _Mapping]] = ..., inference: _Optional[_Union[Percentiles, _Mapping]] = ..., peer: _Optional[str] = ..., session_id: _Optional[int] = ..., opened_ns: _Optional[int] = ..., priority: _Optional[int] = ..., max_frames_per_second: _Optional[float] = ..., crop: _Optional[_Union[Crop, _Mapping]] = ...) -> None: ...

class ListStreamsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListStreamsResponse(_message.Message):
    __slots__ = ("server_id", "time_ns", "streams")
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    server_id: str
    time_ns: int
    streams: _containers.RepeatedCompositeFieldContainer[StreamInfo]
    def __init__(self, server_id: _Optional[str] = ..., time_ns: _Optional[int] = ..., streams: _Optional[_Iterable[_Union[StreamInfo, _Mapping]]] = ...) -> None: ...

class TriggerInfo(_message.Message):
    __slots__ = ("stream", "trigger", "condition", "armed", "state", "fired", "suppressed")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    ARMED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FIRED_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
    stream: str
    trigger: str
    condition: str
    armed: bool
    state: str
    fired: int
    suppressed: _containers.RepeatedCompositeFieldContainer[Count]
    def __init__(self, stream: _Optional[str] = ..., trigger: _Optional[str] = ..., condition: _Optional[str] = ..., armed: bool = ..., state: _Optional[str] = ..., fired: _Optional[int] = ..., suppressed: _Optional[_Iterable[_Union[Count, _Mapping]]] = ...) -> None: ...

class OutputInfo(_message.Message):
    __slots__ = ("name", "type", "connected", "commands")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    connected: bool
    commands: _containers.RepeatedCompositeFieldContainer[Count]
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., connected: bool = ..., commands: _Optional[_Iterable[_Union[Count, _Mapping]]] = ...) -> None: ...

class Count(_message.Message):
    __slots__ = ("name", "count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    count: int
    def __init__(self, name: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ListTriggersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTriggersResponse(_message.Message):
    __slots__ = ("experiment", "record", "triggers", "outputs")
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    TRIGGERS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    experiment: str
    record: str
    triggers: _containers.RepeatedCompositeFieldContainer[TriggerInfo]
    outputs: _containers.RepeatedCompositeFieldContainer[OutputInfo]
    def __init__(self, experiment: _Optional[str] = ..., record: _Optional[str] = ..., triggers: _Optional[_Iterable[_Union[TriggerInfo, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[OutputInfo, _Mapping]]] = ...) -> None: ...

class ArmTriggersRequest(_message.Message):
    __slots__ = ("stream", "trigger", "armed")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    ARMED_FIELD_NUMBER: _ClassVar[int]
    stream: str
    trigger: str
    armed: bool
    def __init__(self, stream: _Optional[str] = ..., trigger: _Optional[str] = ..., armed: bool = ...) -> None: ...

class ArmTriggersResponse(_message.Message):
    __slots__ = ("triggers",)
    TRIGGERS_FIELD_NUMBER: _ClassVar[int]
    triggers: int
    def __init__(self, triggers: _Optional[int] = ...) -> None: ...
