from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop.encode_choice import EncodeChoice, Passage

MS = 1_000_000
RAW_BYTES = 300_000


class Rig:
    """A camera, a processor that compresses, and a link; frames pass one after the other in simulated time."""

    def __init__(
        self, bytes_per_s: float, compress_ms: float = 0.7, ratio: float = 4.0, delay_ms: float = 0.5, fps: float = 60
    ) -> None:
        self.choice = EncodeChoice()
        self.bytes_per_s = bytes_per_s
        self.compress_ns = round(compress_ms * MS)
        self.ratio = ratio
        self.delay_ns = delay_ms * MS
        self.interval_ns = 1e9 / fps
        self.now_ns = 0.0
        self.switches = 0
        self.sent: list[bool] = []

    def passage(self, jpeg: bool) -> Passage:
        size = RAW_BYTES / self.ratio if jpeg else RAW_BYTES
        transfer_ns = round(self.delay_ns + size / self.bytes_per_s * 1e9)
        return Passage(jpeg, RAW_BYTES, self.compress_ns if jpeg else 0, transfer_ns)

    def film(self, seconds: float, jitter: list[float] | None = None) -> None:
        until_ns = self.now_ns + seconds * 1e9
        while self.now_ns < until_ns:
            jpeg = self.choice.next_is_jpeg()
            passage = self.passage(jpeg)
            if jitter:
                noise = jitter[len(self.sent) % len(jitter)]
                transfer_ns = round(passage.transfer_ns * noise)
                passage = Passage(jpeg, passage.pixel_bytes, passage.compress_ns, transfer_ns)
            self.sent.append(jpeg)
            self.now_ns += max(self.interval_ns, passage.compress_ns + passage.transfer_ns)
            self.switches += self.choice.passed(passage, round(self.now_ns))

    def cost_ms(self, jpeg: bool) -> float:
        return self.passage(jpeg).cost_ns / MS


rates = st.floats(1e5, 3e9)


@settings(max_examples=150)
@given(bytes_per_s=rates, compress_ms=st.floats(0.1, 30), ratio=st.floats(1.0, 40), delay_ms=st.floats(0.05, 100))
def test_it_ends_with_the_encoding_that_is_clearly_better(
    bytes_per_s: float, compress_ms: float, ratio: float, delay_ms: float
) -> None:
    rig = Rig(bytes_per_s, compress_ms, ratio, delay_ms)
    rig.film(120)
    raw_ms, jpeg_ms = rig.cost_ms(False), rig.cost_ms(True)
    if rig.choice.jpeg:
        assert jpeg_ms < raw_ms
    else:
        assert jpeg_ms > min(0.74 * raw_ms, raw_ms - 2.1)
    assert rig.switches <= 1, "on a link that does not change, the choice does not either"


@settings(max_examples=100)
@given(
    bytes_per_s=rates,
    compress_ms=st.floats(0.5, 10),
    jitter=st.lists(st.floats(0.85, 1.15), min_size=5, max_size=60),
)
def test_it_does_not_flutter(bytes_per_s: float, compress_ms: float, jitter: list[float]) -> None:
    rig = Rig(bytes_per_s, compress_ms)
    rig.film(300, jitter)
    assert rig.switches <= 1


@settings(max_examples=60)
@given(slow=st.floats(3e5, 3e6), fast=st.floats(1e9, 3e9), compress_ms=st.floats(0.5, 5))
def test_it_follows_a_link_that_changes(slow: float, fast: float, compress_ms: float) -> None:
    rig = Rig(slow, compress_ms)
    rig.film(60)
    assert rig.choice.jpeg
    rig.bytes_per_s = fast
    rig.film(15)
    assert not rig.choice.jpeg, "at once, for frames now take less than half of what they took"
    rig.bytes_per_s = slow
    rig.film(60)
    assert rig.choice.jpeg


def test_on_a_fast_link_no_frame_is_ever_compressed() -> None:
    rig = Rig(bytes_per_s=1e9)
    rig.film(600)
    assert not any(rig.sent)


def test_a_busy_computer_is_not_taken_for_a_slow_link() -> None:
    rig = Rig(bytes_per_s=1e9)
    rig.film(600, jitter=[1.0, 8.0, 20.0, 8.0, 9.0])
    assert not any(rig.sent)


@settings(max_examples=60)
@given(bytes_per_s=st.floats(3e5, 3e6))
def test_trials_of_raw_frames_take_next_to_nothing_of_a_slow_link(bytes_per_s: float) -> None:
    rig = Rig(bytes_per_s)
    rig.film(60)
    begun = len(rig.sent)
    rig.film(600)
    raw_ms = rig.sent[begun:].count(False) * rig.cost_ms(False)
    assert raw_ms < 0.02 * 600_000 + rig.cost_ms(False)


def test_a_session_that_breaks_in_a_trial_begins_anew() -> None:
    rig = Rig(bytes_per_s=1e6)
    while rig.choice.next_is_jpeg() is False:
        rig.choice.passed(rig.passage(False), 0)
    rig.choice.begin()  # the trial's frame is never answered
    rig.film(30)
    assert rig.choice.jpeg


def test_frames_of_another_size_are_measured_anew() -> None:
    rig = Rig(bytes_per_s=1e6)
    rig.film(10)
    assert rig.choice.jpeg
    rig.choice.passed(Passage(True, 1000, 100_000, 1 * MS), round(rig.now_ns))
    for _ in range(40):
        jpeg = rig.choice.next_is_jpeg()
        rig.choice.passed(Passage(jpeg, 1000, 100_000 if jpeg else 0, MS), round(rig.now_ns))
    assert not rig.choice.jpeg, "raw frames that take as long are better"
