"""The one program: parts whose extra is missing say so, and nothing else is taken for a missing part."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from poseloop.extras import EXTRAS

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def poseloop_without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program in an interpreter to which one module looks as if it was not installed."""
    program = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['poseloop', *{arguments!r}]\n"
        "from poseloop.cli import main; main()"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [("torch", "train", "training"), ("lightning", "evaluate", "training"), ("onnxruntime", "serve", "server")],
)
def test_a_command_of_a_missing_extra_says_what_to_install(module: str, command: str, extra: str) -> None:
    done = poseloop_without(module, command, "anything", "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"`poseloop {command}` (it lacks {module})" in done.stderr
    assert f"pip install 'poseloop[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_of_a_missing_command_says_what_to_install_too() -> None:
    done = poseloop_without("torch", "train", "--help")
    assert done.returncode == 1
    assert "pip install 'poseloop[training]'" in done.stderr


def test_the_other_parts_stay_when_one_is_missing() -> None:
    done = poseloop_without("a_module_of_nobody", "--help")
    assert done.returncode == 0
    assert "Not installed" not in done.stdout
    done = poseloop_without("torch", "--help")
    assert done.returncode == 0
    listed = re.sub(r"[\s│]+", " ", done.stdout)
    assert "train Not installed: pip install 'poseloop[training]'" in listed


def test_a_fault_inside_an_installed_part_is_not_taken_for_a_missing_part() -> None:
    done = poseloop_without("poseloop_training.cli", "--help")
    assert done.returncode != 0
    assert "ModuleNotFoundError" in done.stderr
    assert "pip install" not in done.stderr


def test_a_name_in_an_error_does_not_reach_the_terminal_as_a_command() -> None:
    command = [sys.executable, "-m", "poseloop", "stream", "\x1b]0;mine\x07\u202egpj.avi", "--model", "arena"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "no source of frames" in done.stderr
    assert r"\x1b]0;mine\x07\u202egpj.avi" in done.stderr
    assert all(letter.isprintable() or letter == "\n" for letter in done.stderr)


def test_ctrl_c_while_the_commands_are_looked_for_is_no_fault() -> None:
    """The import of a command is where the first half second goes."""
    program = (
        "import signal, sys; sys.argv = ['poseloop', '--help']\n"
        "from poseloop import commands\n"
        "from poseloop.cli import main\n"
        "commands.register = lambda app: signal.raise_signal(signal.SIGINT)\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, "")


def test_ctrl_c_while_the_program_itself_is_imported_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "poseloop", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['poseloop', '--help']\n"
        "from poseloop.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'torch', 'cv2', 'onnxruntime', 'sleap_io', 'lightning', 'pandas', 'matplotlib', 'timm'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", sorted(EXTRAS))
def test_each_distribution_of_an_extra_is_looked_for(name: str) -> None:
    extras = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    modules_of: dict[str, set[str]] = {}
    for module, distributions in importlib.metadata.packages_distributions().items():
        for distribution in distributions:
            modules_of.setdefault(_normal(distribution), set()).add(module)
    for distribution in _distributions(extras, name):
        assert modules_of[distribution] & set(EXTRAS[name].modules), f"{distribution} is not looked for"
    assert EXTRAS[name].missing_modules() == ()


def _distributions(extras: dict[str, list[str]], name: str) -> set[str]:
    found: set[str] = set()
    for requirement in extras[name]:
        if nested := re.fullmatch(r"poseloop\[(.+)\]", requirement):
            for inner in nested[1].split(","):
                found |= _distributions(extras, inner)
        elif ";" not in requirement:  # one with a marker is not on every platform
            found.add(_normal(re.split(r"[<>=\[]", requirement)[0]))
    return found


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
