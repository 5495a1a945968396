"""The service that lists, arms and disarms triggers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import grpc
from poseloop.errors import InvalidInputError
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.v1 import poseloop_pb2_grpc as rpc

from poseloop_server.loop.config import LoopConfig
from poseloop_server.loop.experiment import LiveExperiment
from poseloop_server.loop.live import LiveLoop
from poseloop_server.outputs.runner import OutputRunner
from poseloop_server.refusal import RefusedError


class LoopService(rpc.LoopServiceServicer):
    """Shows what an experiment does, and lets an experimenter hold it back.

    Args:
        experiment: None where the server was started without one.
    """

    def __init__(self, experiment: LiveExperiment | None) -> None:
        self._experiment = experiment

    async def ListTriggers(  # noqa: N802 - the contract's name
        self,
        request: pb.ListTriggersRequest,  # noqa: ARG002
        context: grpc.aio.ServicerContext[pb.ListTriggersRequest, pb.ListTriggersResponse],  # noqa: ARG002
    ) -> pb.ListTriggersResponse:
        """List the triggers of the streams that were opened, and the outputs."""
        experiment = self._experiment
        if experiment is None:
            return pb.ListTriggersResponse()
        return pb.ListTriggersResponse(
            experiment=experiment.config.experiment,
            record="" if experiment.record is None else str(experiment.record),
            triggers=[
                info for name, loop in experiment.loops.items() for info in _triggers(name, loop, experiment.config)
            ],
            outputs=[
                _output(name, experiment.config.outputs[name].kind, runner)
                for name, runner in experiment.outputs.items()
            ],
        )

    async def ArmTriggers(  # noqa: N802 - the contract's name
        self,
        request: pb.ArmTriggersRequest,
        context: grpc.aio.ServicerContext[pb.ArmTriggersRequest, pb.ArmTriggersResponse],
    ) -> pb.ArmTriggersResponse:
        """Arm or disarm triggers from each stream's next pose on."""
        try:
            meant = self._arm(request)
        except RefusedError as refusal:
            await refusal.abort(context)
        return pb.ArmTriggersResponse(triggers=meant)

    def _arm(self, request: pb.ArmTriggersRequest) -> int:
        if self._experiment is None:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "",
                "this server was started without triggers; start it with --loop FILE.",
            )
        try:
            return self._experiment.arm(request.stream, request.trigger, request.armed)
        except InvalidInputError as error:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, "trigger", f"{error}.") from None


def _triggers(stream: str, loop: LiveLoop, config: LoopConfig) -> Iterator[pb.TriggerInfo]:
    configured = config.stream(stream)
    for status in loop.chain.status():
        yield pb.TriggerInfo(
            stream=stream,
            trigger=status.name,
            condition="" if configured is None else configured.triggers[status.name].when,
            armed=status.armed,
            state="refractory" if status.refractory else status.state.value,
            fired=status.fired,
            suppressed=_counts(status.suppressed),
        )


def _output(name: str, kind: str, runner: OutputRunner) -> pb.OutputInfo:
    account = runner.account()
    return pb.OutputInfo(
        name=name,
        type=kind,
        connected=account.connected,
        commands=_counts({status.value: count for status, count in account.commands.items()}),
    )


def _counts(counts: Mapping[str, int]) -> list[pb.Count]:
    return [pb.Count(name=str(name), count=count) for name, count in sorted(counts.items())]
