"""An experiment on a running server: its outputs, its record, and the loop of each of its streams."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from poseloop.errors import InvalidInputError, PoseloopError
from poseloop.types import Counters, ModelSpec

from poseloop_server.loop.chain import StreamLoop
from poseloop_server.loop.compiled import check_streams
from poseloop_server.loop.config import ANY_STREAM, LoopConfig, load_loop
from poseloop_server.loop.config_json import loop_to_json
from poseloop_server.loop.live import LiveLoop
from poseloop_server.loop.prepared import prepare_outputs, require_keypoints
from poseloop_server.outputs.base import Outcome, OutputServices, OutputUnavailableError, Status
from poseloop_server.outputs.runner import OutputRunner
from poseloop_server.record.entries import CodeFile, ModelFile
from poseloop_server.record.header import Experiment, Start, code_files
from poseloop_server.record.writer import LogWriter

if TYPE_CHECKING:
    from poseloop_server.model import PoseModel

_log = logging.getLogger(__name__)


class Closing:
    """A stream that closed, and that the record is yet to tell of: why it did may show a little later.

    Args:
        tell: the record, why.
        reason: what seems to be why.
    """

    def __init__(self, tell: Callable[[str], None], reason: str) -> None:
        self._tell: Callable[[str], None] | None = tell
        self._reason = reason

    def tell(self, reason: str | None = None) -> None:
        """Tell why, once; None: what seemed to be why."""
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(self._reason if reason is None else reason)


class LiveExperiment:
    """Acts on the poses of a server.

    `start` and `stop` wait for devices and belong off the event loop; a stream's loop is used by its model's thread,
    and everything else by the event loop's.

    Args:
        path: of the configuration.
        services: what the server lends its outputs.

    Raises:
        InvalidInputError: the configuration can't be read, or is mistaken.
    """

    def __init__(self, path: Path, services: OutputServices) -> None:
        self.config: LoopConfig = load_loop(path)
        self._services = services
        self._outputs: dict[str, OutputRunner] = {}
        self._writer: LogWriter | None = None
        self._failing: dict[str, Status] = {}  # how the latest command of an output failed
        self._loops: dict[str, LiveLoop] = {}
        self._made: dict[tuple[str, tuple[str, ...]], LiveLoop] = {}  # by stream and keypoints
        self._making = threading.Lock()
        self._opened: set[LiveLoop] = set()
        self._closing: dict[str, Closing] = {}  # by stream
        self._chains: dict[tuple[str, tuple[str, ...]], StreamLoop] = {}  # made at the start, and not opened yet
        self._files: tuple[CodeFile, ...] = ()  # of own stages, as they were loaded for these
        self._began = Start.now()

    @property
    def record(self) -> Path | None:
        """File of the record; None: there is none."""
        return None if self._writer is None else self._writer.path

    @property
    def record_lost(self) -> int:
        """Entries that the record lacks."""
        return 0 if self._writer is None else self._writer.lost

    @property
    def outputs(self) -> Mapping[str, OutputRunner]:
        """The outputs by name."""
        return self._outputs

    @property
    def loops(self) -> Mapping[str, LiveLoop]:
        """The loops of all streams that were opened, by the streams' names, as of now."""
        return dict(self._loops)  # other threads, such as that of the metrics, go through it

    def start(self, models: Sequence[PoseModel]) -> None:
        """Check what depends on the models, connect every output, and begin the record.

        Raises:
            InvalidInputError: the configuration does not fit the models.
            PoseloopError: an output is not there, or the record can't be written.
        """
        self._check({model.name: model.spec for model in models})
        try:
            self._begin_record(models)
            self._start_outputs()
        except BaseException:
            self.stop("the start failed")
            raise

    def stop(self, reason: str = "the server stopped") -> None:
        """Leave every output at rest, and end the record."""
        for closing in self._closing.values():
            closing.tell()
        for loop in self._loops.values():
            loop.stop(reason)  # before its outputs end, for they owe the commands of a fall
        for output in self._outputs.values():
            output.end()  # all of them first, so that none waits for another one's last call
        for output in self._outputs.values():
            output.close()
        for chain in (*self._chains.values(), *(loop.chain for loop in self._made.values())):
            chain.close()
        if self._writer is not None:
            self._writer.close(reason)

    def prepare_stream(self, stream: str, model: PoseModel) -> None:
        """Compile what is configured for a stream, unless that was done; off the event loop, for it takes a while.

        Raises:
            InvalidInputError: the configuration does not fit the model.
        """
        config = self.config.stream(stream)
        if config is None:
            known = ", ".join(self.config.streams)
            self._problem(stream, f"no trigger fires on it, since {self.config.source.file} has only {known}")
            return
        if config.model not in (None, model.name):
            raise InvalidInputError(
                f"{self.config.source.where(self.config.stream_path(stream))}stream {stream} is to use the model "
                f"{config.model}, and was opened with {model.name}; open it with the other, or change `model`"
            )
        keypoints = tuple(model.spec.keypoints)
        with self._making:  # two clients may open one name at once; what its triggers know must not be made twice
            if (stream, keypoints) not in self._made:
                # What the header tells of own stages is what was loaded at the start; so that is what has to run.
                chain = self._chains.pop((stream, keypoints), None) or self._chain(stream, keypoints)
                self._made[stream, keypoints] = LiveLoop(chain, keypoints, self._outputs, self._writer)

    def open_stream(self, stream: str, model: PoseModel) -> LiveLoop | None:
        """Return the loop of a stream that was prepared and opens now; None: nothing is configured for it.

        A stream that was open before goes on with what its triggers know, such as limits.
        """
        keypoints = tuple(model.spec.keypoints)
        loop = self._made.get((stream, keypoints))
        if loop is None:
            return None
        continues = loop in self._opened
        self._opened.add(loop)
        self._loops[stream] = loop
        loop.chain.reset()
        if (before := self._closing.pop(stream, None)) is not None:
            before.tell()  # the record has to close a stream before it opens the next of that name
        if self._writer is not None:
            ran = code_files(loop.chain.sources, self.config.folder)
            later = [file for file in ran if file not in self._files]
            self._writer.stream_opened(stream, model.name, model.sha256, keypoints, continues, later)
        return loop

    def close_stream(
        self, stream: str, reason: str, counters: Counters, clock_uncertainty_ns: int = 0
    ) -> Closing | None:
        """End what the triggers of a stream are about, at once; its model's thread is done with it.

        Returns:
            What tells the record, to be told once it is known why the stream closed; without that it is told ``reason``
            when a stream of the name opens anew or the experiment ends.
        """
        loop = self._loops.get(stream)
        if loop is None:
            return None
        loop.end(reason or "the stream was closed")
        writer = self._writer
        if writer is None:
            return None

        failures = dict(loop.chain.stage_failures)

        def tell(why: str) -> None:
            writer.stream_closed(stream, why, counters, clock_uncertainty_ns, failures)

        self._closing[stream] = Closing(tell, reason)
        return self._closing[stream]

    def account(self, stream: str, counters: Counters, clock_uncertainty_ns: int) -> None:
        """Put a stream's account into the record; once a second is enough."""
        loop = self._loops.get(stream)
        if self._writer is not None and loop is not None:
            self._writer.account(stream, counters, clock_uncertainty_ns, loop.chain.stage_failures)

    def arm(self, stream: str, trigger: str, armed: bool) -> int:
        """Arm or disarm triggers from each stream's next pose on.

        Args:
            stream: "" for all that are open or were.
            trigger: "" for all.
            armed: whether they may fire.

        Returns:
            How many were meant.

        Raises:
            InvalidInputError: there is no such stream or trigger.
        """
        chosen = [loop for name, loop in self._loops.items() if stream in ("", name)]
        if not chosen:
            known = ", ".join(self._loops) or "none yet"
            raise InvalidInputError(f"no stream {stream or 'at all'} with triggers was opened; there is {known}")
        named = [(loop, one.name) for loop in chosen for one in loop.chain.status()]
        meant = [(loop, name) for loop, name in named if trigger in ("", name)]
        if not meant:
            names = sorted({name for _, name in named})
            raise InvalidInputError(f"there is no trigger {trigger!r}; there is {', '.join(names) or 'none'}")
        for loop, name in meant:
            loop.chain.arm(name, armed)
        return len(meant)

    def watch(self) -> None:
        """Look after streams that have fallen silent; a few times a second is enough."""
        for loop in self._loops.values():
            loop.end_if_silent()

    def _check(self, models: Mapping[str, ModelSpec]) -> None:
        """Compile what is configured for the streams whose model is known: that they name, or the only one there is.

        Their chains are kept, so that own stages run as they were loaded here; what stands for any stream is made anew
        for each when it opens.
        """
        keypoints = {name: tuple(spec.keypoints) for name, spec in models.items()}
        check_streams(self.config, keypoints)
        require_keypoints(self.config, (name for names in keypoints.values() for name in names))
        only = next(iter(keypoints)) if len(keypoints) == 1 else None
        for name, config in self.config.streams.items():
            model = config.model or only
            if model is not None:
                chain = self._chain(name, keypoints[model])
                if name == ANY_STREAM:
                    chain.close()
                else:
                    self._chains[name, keypoints[model]] = chain
        sources = (source for chain in self._chains.values() for source in chain.sources)
        self._files = code_files(sources, self.config.folder)

    def _chain(self, stream: str, keypoints: tuple[str, ...]) -> StreamLoop:
        problem = partial(self._problem, stream)
        return StreamLoop(self.config, stream, keypoints, began_ns=self._began.ns, problem=problem)

    def _begin_record(self, models: Sequence[PoseModel]) -> None:
        folder = self.config.record_folder
        if folder is None:
            return
        experiment = Experiment(
            name=self.config.experiment,
            configuration=loop_to_json(self.config),
            server_id=self._services.server_id,
            models=tuple(ModelFile(name=model.name, sha256=model.sha256) for model in models),
            files=self._files,
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            where = self.config.source.where(("record",))
            raise InvalidInputError(
                f"{where}the folder {folder} of the record can't be made: {error.strerror}; "
                "give another one as `record`, or say `record: off`"
            ) from None
        self._writer = LogWriter(experiment, folder, on_problem=_log.warning, start=self._began)

    def _start_outputs(self) -> None:
        for name, output in prepare_outputs(self.config, self._services).items():
            runner = OutputRunner(name, output, self._report, self.config.outputs[name].config)
            try:
                runner.start()
            except Exception as error:  # also what a device's library raises and its output did not foresee
                where = self.config.source.where(("outputs", name))
                kind = InvalidInputError if isinstance(error, InvalidInputError) else OutputUnavailableError
                what = str(error) if isinstance(error, PoseloopError) else f"{type(error).__name__}: {error}"
                raise kind(f"{where}output {name}: {what}") from None
            self._outputs[name] = runner

    def _report(self, outcome: Outcome) -> None:
        """Note what became of a command; the log tells of the first of a row, on the output's thread alone.

        Where an output is not there its runner has told so, and its commands come back on a model's thread, which does
        not log. All of them stand in the record and are counted.
        """
        if self._writer is not None:
            self._writer.outcome(outcome)
        command, status = outcome.command, outcome.status
        if status in (Status.SENT, Status.ACKNOWLEDGED):
            self._failing.pop(command.output, None)
        elif status not in (Status.DROPPED_GONE, Status.DROPPED_FULL) and self._failing.get(command.output) != status:
            self._failing[command.output] = status
            words = status.value.replace("_", " ")
            cause = command.trigger or command.stream
            _log.warning(
                "output %s: command %d of %s was %s: %s", command.output, command.number, cause, words, outcome.message
            )

    def _problem(self, stream: str, message: str) -> None:
        _log.warning("stream %s: %s", stream, message)
        if self._writer is not None:
            self._writer.problem(f"stream {stream}", message)
