from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from poseloop_server.outputs.base import OutputUnavailableError, Status
from poseloop_server.outputs.osc import OscAction, OscConfig, OscOutput
from poseloop_server.outputs.runner import OutputRunner
from pydantic import ValidationError
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_message import OscMessage
from pythonosc.osc_server import BlockingOSCUDPServer

from tests.server.outputs.parts import SERVICES, Outcomes, command, eventually, pose, run, survives_unplugging


class Receiver:
    """python-osc's server; remembers each message with its types."""

    def __init__(self) -> None:
        self.messages: list[OscMessage] = []
        self.port = 0
        self.start()

    def start(self) -> None:
        dispatcher = Dispatcher()
        dispatcher.set_default_handler(lambda address, *_: None)
        receiver = self

        class Server(BlockingOSCUDPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                receiver.messages.append(OscMessage(request[0]))
                super().process_request(request, client_address)

        self._server = Server(("127.0.0.1", self.port), dispatcher)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def received(self, count: int) -> list[OscMessage]:
        eventually(lambda: len(self.messages) >= count)
        return self.messages


def types(message: OscMessage) -> str:
    """Return a message's type tag as it stands on the wire."""
    _, _, rest = message.dgram.partition(b",")
    return rest.split(b"\0")[0].decode()


@pytest.fixture
def receiver() -> Any:
    made = Receiver()
    yield made
    made.stop()


def started(receiver: Receiver, **keys: Any) -> tuple[OutputRunner, Outcomes]:
    config = OscConfig(port=receiver.port, deadline_ms=60_000, **keys)
    outcomes = Outcomes()
    return run(OscOutput("out", config, SERVICES), config, outcomes), outcomes


def test_a_message_arrives_with_its_arguments(receiver: Receiver) -> None:
    runner, outcomes = started(receiver)
    runner.submit(command(OscAction(address="/laser", arguments=[3, 0.5, "left", True, False, 2**40]), 1))
    assert outcomes.of(1).status is Status.SENT
    (message,) = receiver.received(1)
    assert message.address == "/laser"
    assert types(message) == "ifsTFh"
    assert list(message) == [3, 0.5, "left", True, False, 2**40]
    runner.close()


def test_a_message_without_arguments(receiver: Receiver) -> None:
    runner, _ = started(receiver)
    runner.submit(command(OscAction(address="/go")))
    (message,) = receiver.received(1)
    assert list(message) == []
    runner.close()


def test_the_tracking_plugin_gets_its_four_floats(receiver: Receiver) -> None:
    runner, _ = started(receiver, poses={"form": "tracking", "keypoint": "tail"})
    one = pose()
    one.keypoints[0, 1] = (159.5, 59.5, 0.9)
    runner.submit_pose(one)
    (message,) = receiver.received(1)
    assert message.address == "/red"
    assert types(message) == "ffff"
    assert list(message) == [0.5, 0.25, 320.0, 240.0]
    runner.close()


def test_the_tracking_plugin_may_get_pixels_at_another_address(receiver: Receiver) -> None:
    poses = {"form": "tracking", "keypoint": "tail", "address": "/blue", "fractions": False, "stream": "cam1"}
    runner, _ = started(receiver, poses=poses)
    one = pose()
    one.keypoints[0, 1] = (160, 60, 0.9)
    runner.submit_pose(pose(stream="cam2"))
    runner.submit_pose(one)
    (message,) = receiver.received(1)
    assert (message.address, list(message)) == ("/blue", [160.0, 60.0, 320.0, 240.0])
    runner.close()


def test_the_tracking_plugin_hears_nothing_of_what_is_absent(receiver: Receiver) -> None:
    runner, _ = started(receiver, poses={"form": "tracking", "keypoint": "tail"})
    absent, there = pose(1), pose(2, stream="cam2")
    absent.keypoints[0, 1] = np.nan
    runner.submit_pose(absent)
    runner.submit_pose(there)
    assert len(receiver.received(1)) == 1
    runner.close()


def test_bonsai_gets_the_whole_pose(receiver: Receiver) -> None:
    runner, _ = started(receiver, poses={})
    one = pose(7, animals=2)
    one.keypoints[1, 1] = np.nan
    runner.submit_pose(one)
    (message,) = receiver.received(1)
    assert message.address == "/pose/cam1"
    assert types(message) == "hd" + "fff" * 4
    sequence, captured_s, *numbers = message
    assert (sequence, captured_s) == (7, one.captured_ns / 1e9)
    np.testing.assert_array_equal(np.asarray(numbers, np.float32), one.keypoints.reshape(-1))
    runner.close()


def test_a_keypoint_that_there_is_not_is_told(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    runner, _ = started(receiver, poses={"form": "tracking", "keypoint": "nose"})
    runner.submit_pose(pose())
    eventually(lambda: "there is no keypoint 'nose'; there are snout, tail" in runner.account().problem)
    runner.close()


def test_a_receiver_on_this_computer_may_go_and_come_back(receiver: Receiver) -> None:
    runner, outcomes = started(receiver, poses={})
    survives_unplugging(runner, outcomes, OscAction(address="/laser"), receiver.stop, receiver.start)


def test_an_address_that_does_not_exist() -> None:
    config = OscConfig(host="no.such.host.invalid", port=9000)
    with pytest.raises(OutputUnavailableError, match=r"no\.such\.host\.invalid:9000"):
        run(OscOutput("out", config, SERVICES), config, Outcomes())


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"address": "laser"}, "pattern"),
        ({"address": "/laser", "arguments": [2**70]}, "64 bits"),
        ({"address": "/laser", "arguments": ["x" * 1001]}, "too long"),
        ({"address": "/laser", "arguments": [None]}, "valid"),
    ],
)
def test_actions_that_make_no_sense(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        OscAction(**keys)


@pytest.mark.parametrize(
    ("poses", "says"),
    [({"form": "tracking"}, "needs `keypoint`"), ({"keypoint": "snout"}, "goes with"), ({"form": "x"}, "tracking")],
)
def test_configurations_that_make_no_sense(poses: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        OscConfig(port=9000, poses=poses)
