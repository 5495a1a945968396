"""Generate the Python stubs of the wire contracts; `--check` fails where the committed ones are not current."""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Contract:
    """A .proto file below proto/, without its suffix, and the folder that its stubs lie below in the same way."""

    proto: str
    target: Path
    # A contract of others: a program may hold their stubs as well, and one descriptor pool takes no name twice.
    foreign: bool = False

    @property
    def suffixes(self) -> list[str]:
        return ["_pb2.py", "_pb2.pyi"] if self.foreign else ["_pb2.py", "_pb2.pyi", "_pb2_grpc.py"]


CONTRACTS = [
    Contract("poseloop/v1/poseloop", ROOT / "clients/python"),
    Contract("oip/v2/open_inference", ROOT / "server/poseloop_server", foreign=True),
]


def generate(contract: Contract, out: Path) -> None:
    arguments = [
        "protoc",
        f"-I{ROOT / 'proto'}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"--python_out={out}",
        f"--pyi_out={out}",
        *([] if contract.foreign else [f"--grpc_python_out={out}"]),
        str(ROOT / f"proto/{contract.proto}.proto"),
    ]
    if protoc.main(arguments) != 0:
        sys.exit(f"protoc refused proto/{contract.proto}.proto; its message stands above.")
    if contract.foreign:
        _give_own_pool(out / f"{contract.proto}_pb2.py")


def _give_own_pool(stubs: Path) -> None:
    text = stubs.read_text(encoding="utf-8")
    shared = "_descriptor_pool.Default().AddSerializedFile("
    if text.count(shared) != 1:
        sys.exit(f"{stubs.name} is not what this script expects of protoc; see where it adds its descriptor.")
    stubs.write_text(text.replace(shared, "_descriptor_pool.DescriptorPool().AddSerializedFile("), encoding="utf-8")


def _stale(contract: Contract) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        generate(contract, Path(folder))
        names = [contract.proto + suffix for suffix in contract.suffixes]
        return [name for name in names if not filecmp.cmp(Path(folder) / name, contract.target / name, shallow=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        for contract in CONTRACTS:
            generate(contract, contract.target)
        return
    if stale := [name for contract in CONTRACTS for name in _stale(contract)]:
        sys.exit(f"Not current: {', '.join(stale)}; run `make proto`.")


if __name__ == "__main__":
    main()
