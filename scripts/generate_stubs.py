"""Generate the Python stubs of the wire contract; `--check` fails where the committed ones are not current."""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "clients/python"
NAMES = ["poseloop_pb2.py", "poseloop_pb2.pyi", "poseloop_pb2_grpc.py"]


def generate(out: Path) -> None:
    arguments = [
        "protoc",
        f"-I{ROOT / 'proto'}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"--python_out={out}",
        f"--pyi_out={out}",
        f"--grpc_python_out={out}",
        str(ROOT / "proto/poseloop/v1/poseloop.proto"),
    ]
    if protoc.main(arguments) != 0:
        sys.exit("protoc refused proto/poseloop/v1/poseloop.proto; its message stands above.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        generate(TARGET)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        made, committed = Path(folder) / "poseloop/v1", TARGET / "poseloop/v1"
        stale = [name for name in NAMES if not filecmp.cmp(made / name, committed / name, shallow=False)]
    if stale:
        sys.exit(f"Not current: {', '.join(stale)} in {committed.relative_to(ROOT)}; run `make proto`.")


if __name__ == "__main__":
    main()
