from __future__ import annotations

import subprocess
import sys

import poseloop

HEAVY = ("cv2", "torch", "onnxruntime", "pandas", "matplotlib", "simplejpeg")


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_import_loads_nothing_but_itself() -> None:
    loaded = modules_after("import poseloop")
    assert not loaded & {*HEAVY, "numpy", "grpc", "zmq", "pydantic"}


def test_connecting_needs_no_heavy_module_and_no_zeromq() -> None:
    assert not modules_after("import poseloop; poseloop.connect, poseloop.aio") & set(HEAVY)
    assert not modules_after("import poseloop; poseloop.connect") & {*HEAVY, "zmq"}
    assert not modules_after("import poseloop; poseloop.subscribe") & {*HEAVY, "grpc"}


def test_every_public_name_is_there() -> None:
    assert all(getattr(poseloop, name) is not None for name in poseloop.__all__)
    assert set(dir(poseloop)) == set(poseloop.__all__)
