"""The documentation, held to account: its links, the commands and options that it names, its Python."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from poseloop import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)|<img[^>]+src=\"(?P<image>[^\"]+)\"")
FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    body: str


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _blocks() -> Iterator[Block]:
    for page in PAGES:
        for match in FENCE.finditer(page.read_text(encoding="utf-8")):
            yield Block(page, match["language"], match["body"])


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+\s+(.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for match in LINK.finditer(prose):
        target = match["target"] or match["image"]
        if target.startswith(("https://", "http://localhost")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} is not there"
        assert file.is_relative_to(ROOT), f"{target} leads out of the repository"
        if anchor:
            assert anchor in _anchors(file), f"{target}: there is no such heading"


@cache
def _program() -> Any:
    cli.load_commands()
    return typer.main.get_command(cli.app)


def _commands(text: str) -> Iterator[list[str]]:
    """The words after `poseloop` of every command line in a text, continued lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        match = re.match(r"^\s*(?:\$ )?(?:\.venv/bin/)?poseloop\s+(?P<rest>[a-z].*)$", line)
        if match:
            words = shlex.split(match["rest"], comments=True)
            ends = [words.index(end) for end in ("|", ">", "&", "&&", ";") if end in words]
            yield words[: min(ends, default=len(words))]


def _mentioned() -> Iterator[tuple[Path, list[str]]]:
    for block in _blocks():
        if block.language in ("", "sh", "bash", "console", "shell"):
            yield from ((block.page, words) for words in _commands(block.body))
    for page in PAGES:
        for span in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
            # Brackets and bars of a synopsis are not for a shell to split.
            plain = re.sub(r"(?<!poseloop)[\[\]|]", " ", span)
            yield from ((page, words) for words in _commands(plain))


def _check(words: list[str]) -> str | None:
    """Return what is wrong with a command line, or None."""
    command, rest = _program(), list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            return f"there is no command {name!r}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        option = word.split("=")[0]
        if option.startswith("--") and option not in known | {"--help"}:
            return f"{command.name} has no option {option}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_and_options_exist(page: Path) -> None:
    wrong = {shlex.join(words): _check(words) for where, words in _mentioned() if where == page}
    assert not {words: problem for words, problem in wrong.items() if problem}


def test_the_readme_names_the_commands_of_a_newcomer() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = {words[0] for page, words in _mentioned() if page == ROOT / "README.md"}
    assert {"train", "serve", "stream", "watch"} <= named
    assert "FIGURE" not in readme, "a figure of the README was not filled in"
    assert "make demo" in readme
    assert "make test" in readme


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`make ([a-z-]+)`|^(?:\$ )?make ([a-z-]+)\s*(?:#.*)?$", text, re.MULTILINE)
    assert {first or second for first, second in named} <= targets


def _python_blocks() -> list[Block]:
    return [block for block in _blocks() if block.language == "python"]


@pytest.mark.parametrize("block", _python_blocks(), ids=lambda block: _name(block.page))
def test_python_examples_compile_and_import_what_exists(block: Block) -> None:
    compile(block.body, _name(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    namespace: dict[str, object] = {}
    for line in block.body.splitlines():
        if re.match(r"^(import|from) poseloop", line):
            exec(line, namespace)
    used = set(re.findall(r"\bposeloop\.(\w+)", block.body)) if "poseloop" in namespace else set()
    assert not {name for name in used if not hasattr(namespace["poseloop"], name)}


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs/README.md"
    linked = {
        (index.parent / match["target"]).resolve() for match in LINK.finditer(index.read_text()) if match["target"]
    }
    assert {page for page in PAGES if page.parent == index.parent and page != index} <= linked


def test_the_modules_that_the_architecture_names_exist() -> None:
    folders = {"poseloop": "clients/python", "poseloop_server": "server", "poseloop_training": "training"}
    page = (ROOT / "docs/architecture.md").read_text()
    package, named = "", 0
    for first, modules in re.findall(r"^\| (?:`(poseloop\w*)`)? ?\| (`[^|]*`) \|", page, re.MULTILINE):
        package = first or package
        for module in INLINE.findall(modules):
            folder = ROOT / folders[package] / package
            assert [*folder.glob(f"{module}.py"), *folder.glob(f"{module}/")], f"there is no {package}.{module}"
            named += 1
    assert named
