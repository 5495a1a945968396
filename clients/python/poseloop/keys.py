"""Waits for a key of the terminal; where standard input is no terminal it just waits."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_EVERY_S = 0.05


@contextmanager
def quit_key(key: str = "q") -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits so many seconds, and returns true as soon as ``key`` was pressed."""
    if not sys.stdin or not sys.stdin.isatty():
        yield _just_wait
    elif sys.platform == "win32":
        yield lambda seconds: _wait_on_windows(key, seconds)
    else:
        import termios
        import tty

        keyboard = sys.stdin.fileno()
        before = termios.tcgetattr(keyboard)
        tty.setcbreak(keyboard)  # keys come one by one and are not shown; Ctrl-C still interrupts
        try:
            yield lambda seconds: _wait_on_a_terminal(keyboard, key, seconds)
        finally:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _just_wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _wait_on_a_terminal(keyboard: int, key: str, seconds: float) -> bool:
    import select

    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        if select.select([keyboard], [], [], left_s)[0]:
            pressed = os.read(keyboard, 64)
            if not pressed:  # the terminal is gone
                return True
            if key in pressed.decode(errors="replace").lower():
                return True
    return False


def _wait_on_windows(key: str, seconds: float) -> bool:
    if sys.platform == "win32":
        import msvcrt

        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            while msvcrt.kbhit():
                if msvcrt.getwch().lower() == key:
                    return True
            time.sleep(_LOOK_EVERY_S)
    return False
