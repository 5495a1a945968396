"""One monotonic clock for all stamps, its name, and the offset to a clock on another machine."""

from __future__ import annotations

import ctypes
import hashlib
import math
import platform
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

# Keys of the Windows registry.
_OF_BOOT: Final = r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters"
_OF_INSTALLATION: Final = r"SOFTWARE\Microsoft\Cryptography"

now_ns = time.perf_counter_ns
"""Nanoseconds since an arbitrary start; the same clock in every process of one boot on Linux, macOS and Windows.

`time.monotonic_ns` would do on Linux, but ticks only every 15 ms on Windows.
"""


@cache
def clock_id() -> str:
    """Name of this machine's monotonic clock: two processes with equal names may compare their stamps directly."""
    return hashlib.sha256(boot_identity().encode()).hexdigest()[:16]


def boot_identity(sources: Iterable[Callable[[], str]] | None = None) -> str:
    """Return what tells this boot of this machine from every other: what the first of the sources says that can.

    Where none can, the boot's wall time (to 10 s) stands in for it, since the clock starts anew at each boot. That is
    another one after the wall clock was set, and now and then for processes that ask on both sides of a rounding.
    """
    for source in (_boot_of_linux, _boot_of_macos, _boot_of_windows) if sources is None else sources:
        with suppress(OSError, ValueError):
            if identity := source():
                return identity
    booted_at = round((time.time() - time.perf_counter()) / 10)
    return f"{platform.node()}-{uuid.getnode()}-{booted_at}"


def _boot_of_linux() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _boot_of_macos() -> str:
    if sys.platform != "darwin":
        return ""
    text, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    name, nothing_new = b"kern.bootsessionuuid", ctypes.c_size_t(0)
    if ctypes.CDLL(None).sysctlbyname(name, text, ctypes.byref(size), None, nothing_new) != 0:
        return ""
    return text.value.decode()


def _boot_of_windows() -> str:
    """Return the number of the boot, which its loader counts, behind the name of the installation."""
    if sys.platform != "win32":
        return ""
    import winreg

    def value(key: str, name: str) -> str:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, access=winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as opened:
            return str(winreg.QueryValueEx(opened, name)[0])

    return f"{platform.node()}-{value(_OF_INSTALLATION, 'MachineGuid')}-{value(_OF_BOOT, 'BootId')}"


# Two computers' clocks drift apart by no more than that: twice a common quartz's tolerance.
_DRIFT = 50e-6


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """An estimate of ``server clock - client clock``, wrong by no more than ``uncertainty_ns``."""

    offset_ns: int
    uncertainty_ns: int


SHARED_CLOCK = ClockOffset(0, 0)


def _most_drift_ns(during_ns: int) -> int:
    return math.ceil(abs(during_ns) * _DRIFT)


class OffsetEstimator:
    """Estimates the offset of a server's clock from request-reply exchanges, as NTP's clock filter does (RFC 5905, 10).

    The exchange decides whose offset can be wrong by least: by half of its round trip, however unequal the two ways
    are, and by what the clocks may have drifted apart since. On a slow network that is one from before frames filled
    it, for minutes; a frame's own exchange would be wrong by half of the time that it takes there.
    """

    def __init__(self) -> None:
        self._chosen: ClockOffset | None = None
        self._chosen_at_ns = 0

    def add(self, sent_client_ns: int, received_ns: int, replied_ns: int, arrived_client_ns: int) -> None:
        """Add one exchange: sent and arrived on the client's clock, received and replied on the server's."""
        round_trip = (arrived_client_ns - sent_client_ns) - (replied_ns - received_ns)
        if round_trip < -_most_drift_ns(replied_ns - received_ns):
            return  # a clock was set meanwhile
        offset = ((received_ns - sent_client_ns) + (replied_ns - arrived_client_ns)) // 2
        # The clocks drift within the exchange too: the server's time in it is measured by the other clock.
        heard = ClockOffset(offset, round_trip // 2 + _most_drift_ns(arrived_client_ns - sent_client_ns) + 2)
        best = self.best_at(arrived_client_ns)
        if best is None or heard.uncertainty_ns <= best.uncertainty_ns:
            self._chosen, self._chosen_at_ns = heard, arrived_client_ns

    def best_at(self, client_ns: int) -> ClockOffset | None:
        """Return the best estimate for a moment on the client's clock, or None before the first exchange."""
        if self._chosen is None:
            return None
        drift_ns = _most_drift_ns(client_ns - self._chosen_at_ns)
        return ClockOffset(self._chosen.offset_ns, self._chosen.uncertainty_ns + drift_ns)
