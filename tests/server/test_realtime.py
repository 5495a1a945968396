"""Real-time threads and locked memory, allowed and refused, each in a process of its own."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap

import pytest
from poseloop_server import realtime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has both")

MAY_RENICE = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"
PR_CAPBSET_DROP, CAP_IPC_LOCK, CAP_SYS_NICE = 24, 14, 23


def _as_an_ordinary_account() -> None:
    """Take from a process that is about to be started what only root has, and give it an account's usual limits."""
    import resource

    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 << 10, 64 << 10))
    if os.geteuid() == 0:
        for capability in (CAP_IPC_LOCK, CAP_SYS_NICE):
            assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def _start(arguments: list[str], *, ordinary: bool) -> subprocess.CompletedProcess[str]:
    before = _as_an_ordinary_account if ordinary else None
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, preexec_fn=before, check=False
    )


def _run(code: str, *, ordinary: bool = False) -> subprocess.CompletedProcess[str]:
    return _start(["-c", textwrap.dedent(code)], ordinary=ordinary)


def _needs(code: str, right: str) -> None:
    if _run(code).returncode != 0:
        pytest.skip(f"this account may not do it: it lacks {right}")


def test_threads_started_within_are_real_time_and_others_are_not() -> None:
    _needs(MAY_RENICE, "CAP_SYS_NICE")
    done = _run("""
        import os, threading
        from poseloop_server import realtime

        def policy():
            found = []
            ask = lambda: found.append((os.sched_getscheduler(0), os.sched_getparam(0).sched_priority))
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
            return found[0]

        with realtime.threads_at(0):
            assert policy() == (os.SCHED_OTHER, 0)
        with realtime.threads_at(17):
            assert policy() == (os.SCHED_FIFO, 17)
            left = threading.Thread(target=lambda: (realtime.leave(), print(os.sched_getscheduler(0))))
            left.start(); left.join()
        assert policy() == (os.SCHED_OTHER, 0)
    """)
    assert (done.returncode, done.stdout.strip()) == (0, str(os.SCHED_OTHER)), done.stderr


def test_the_threads_of_onnx_runtime_are_reached() -> None:
    _needs(MAY_RENICE, "CAP_SYS_NICE")
    done = _run("""
        import os
        import onnxruntime
        from poseloop_server import realtime
        from poseloop_server.bundled import arena_model_path
        from poseloop_server.model import PoseModel

        with realtime.threads_at(5):
            model = PoseModel(arena_model_path(), threads=3, warm_up_runs=2)
        policies = [os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")]
        assert policies.count(os.SCHED_FIFO) == 2, policies  # the third is the one that calls
    """)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--realtime", "40"], ("real-time priority 40", "up to 0", "CAP_SYS_NICE", "raised to 40")),
        (["--lock-memory"], ("may lock 64 KiB", "CAP_IPC_LOCK", "raised to unlimited")),
    ],
)
def test_what_the_system_refuses_is_one_sentence(flags: list[str], said: tuple[str, ...]) -> None:
    addresses = ["--listen", "127.0.0.1:0", "--publish", "tcp://127.0.0.1:*"]
    done = _start(["-m", "poseloop.cli", "serve", *addresses, *flags], ordinary=True)
    assert done.returncode == 1, done.stdout
    assert done.stderr.strip().count("\n") == 0, done.stderr
    for words in said:
        assert words in done.stderr


def test_only_the_models_thread_of_a_server_is_real_time() -> None:
    _needs(MAY_RENICE, "CAP_SYS_NICE")
    done = _run("""
        import asyncio, os, threading
        from poseloop_server.app import running
        from poseloop_server.settings_sources import load_settings

        async def main():
            flags = {"listen": "127.0.0.1:0", "publish": "tcp://127.0.0.1:*", "realtime": "9"}
            async with running(load_settings(None, flags, {})):
                kinds = {thread.name: os.sched_getscheduler(thread.native_id) for thread in threading.enumerate()}
                assert kinds.pop("model arena") == os.SCHED_FIFO
                assert set(kinds.values()) == {os.SCHED_OTHER}, kinds

        asyncio.run(main())
    """)
    assert done.returncode == 0, done.stderr


def test_memory_is_locked_and_later_memory_too() -> None:
    _needs("from poseloop_server import realtime; realtime.lock_memory()", "CAP_IPC_LOCK")
    done = _run("""
        import re
        from poseloop_server import realtime

        def locked_kib():
            return int(re.search(r"VmLck:\\s+(\\d+)", open("/proc/self/status").read())[1])

        assert locked_kib() == 0
        realtime.lock_memory()
        before = locked_kib()
        later = bytearray(64 << 20)
        assert before > 0 and locked_kib() >= before + (64 << 10)
    """)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_other_systems_say_so(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(realtime.RefusedBySystemError, match=r"--realtime.*need Linux"), realtime.threads_at(1):
        pass
    with pytest.raises(realtime.RefusedBySystemError, match=r"--lock-memory.*needs Linux"):
        realtime.lock_memory()
    with realtime.threads_at(0):
        realtime.leave()
