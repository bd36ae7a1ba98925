"""The documents of the project, and the blocks and links in them."""

import dataclasses
import re
from pathlib import Path

from support.python_programs import ROOT

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w.]+)\n")
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: The word after the fence.
        text: What is in it, without its indentation.
    """

    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """The name in a first line `# name.ext`: such a block is a file."""
        match = _FILE.match(self.text)
        return match[1] if match else None


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def read_blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [
        Block(language, re.sub(f"^{indent}", "", body, flags=re.MULTILINE))
        for indent, language, body in _FENCE.findall(text)
    ]


def write_files(blocks: list[Block], directory: Path) -> list[str]:
    """Writes the blocks that are files, and returns their names."""
    names = []
    for block in blocks:
        if block.file_name is not None:
            (directory / block.file_name).write_text(block.text, encoding="utf-8")
            names.append(block.file_name)
    return names


def read_commands(document: Path) -> list[str]:
    """Returns the commands of the `console` blocks, without comments."""
    return [
        line.removeprefix("$ ").split(" #")[0].strip()
        for block in read_blocks(document)
        if block.language == "console"
        for line in block.text.splitlines()
        if line.startswith("$ ")
    ]


def read_links(document: Path) -> list[tuple[str, str]]:
    """Returns the target and the anchor of each link to a file."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    return [(target, anchor) for target, anchor in _LINK.findall(text) if ":" not in target]


def anchors_of(document: Path) -> set[str]:
    """Returns the anchors that GitHub and mkdocs give to the headings."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}
