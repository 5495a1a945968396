from __future__ import annotations

import platform
import subprocess
import sys

from hypothesis import example, given
from hypothesis import strategies as st
from poseloop.clock import OffsetEstimator, boot_identity, clock_id

MS = 1_000_000
delays = st.integers(0, 500 * MS)


@given(
    exchanges=st.lists(st.tuples(delays, delays, delays, st.integers(0, 10**11)), min_size=1, max_size=100),
    offset_ns=st.integers(-(10**15), 10**15),
    drift=st.floats(-45e-6, 45e-6),
)
# The second exchange seems to take less than no time, so much do the clocks drift apart within it.
@example(
    exchanges=[(0, 0, 0, 3464092730), (0, 500 * MS, 18374, 13255)], offset_ns=500016056, drift=3.6751196146666205e-05
)
def test_the_error_is_never_more_than_the_uncertainty(
    exchanges: list[tuple[int, int, int, int]], offset_ns: int, drift: float
) -> None:
    estimator = OffsetEstimator()
    now_ns = 0

    def server_clock(at_ns: int) -> int:
        return at_ns + offset_ns + round(at_ns * drift)

    for there_ns, busy_ns, back_ns, pause_ns in exchanges:
        sent_ns, received_ns = now_ns, now_ns + there_ns
        arrived_ns = received_ns + busy_ns + back_ns
        estimator.add(sent_ns, server_clock(received_ns), server_clock(received_ns + busy_ns), arrived_ns)
        for at_ns in (arrived_ns, arrived_ns + pause_ns):
            best = estimator.best_at(at_ns)
            assert best is not None
            assert abs(best.offset_ns - (server_clock(at_ns) - at_ns)) <= best.uncertainty_ns
        now_ns = arrived_ns + pause_ns


def test_frames_that_are_long_under_way_do_not_displace_a_quick_exchange() -> None:
    estimator = OffsetEstimator()
    estimator.add(0, 1000 * MS, 1000 * MS, MS)
    for k in range(1, 1000):
        sent_ns = k * 100 * MS
        estimator.add(sent_ns, 1000 * MS + sent_ns + 80 * MS, 1000 * MS + sent_ns + 80 * MS, sent_ns + 81 * MS)
    best = estimator.best_at(1000 * 100 * MS)
    assert best is not None
    assert best.offset_ns == 1000 * MS - MS // 2
    assert best.uncertainty_ns < 6 * MS


def test_an_exchange_during_which_a_clock_was_set_is_left_out() -> None:
    estimator = OffsetEstimator()
    estimator.add(0, 1000 * MS, 1000 * MS, MS)
    before = estimator.best_at(MS)
    estimator.add(1000 * MS, 2000 * MS, 3000 * MS, 1001 * MS)
    assert before is not None
    assert estimator.best_at(MS) == before


def test_every_process_of_one_boot_has_the_same_name_for_the_clock() -> None:
    command = [sys.executable, "-c", "from poseloop.clock import clock_id; print(clock_id())"]
    assert {subprocess.check_output(command, text=True).strip() for _ in range(2)} == {clock_id()}


def test_the_first_source_that_knows_the_boot_names_it() -> None:
    def fails() -> str:
        raise FileNotFoundError("as on another system")

    assert boot_identity([fails, lambda: "", lambda: "this boot", lambda: "never asked"]) == "this boot"
    by_wall_time = boot_identity([fails, lambda: ""])
    assert by_wall_time.startswith(platform.node())
    if sys.platform in ("linux", "darwin", "win32"):
        assert boot_identity().rpartition("-")[2] != by_wall_time.rpartition("-")[2]
