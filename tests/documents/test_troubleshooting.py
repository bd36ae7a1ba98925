"""Every message that the sources raise or log stands in `docs/troubleshooting.md`."""

import re

import pytest

from support.raised_messages import (
    ROOT,
    Message,
    logged_in_cpp,
    python_messages,
    status_codes_in_cpp,
)

PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
# The columns of its tables that quote messages.
QUOTING = {"message", "warning", "line"}

# What these say stands in the message alone: what was expected and what was found. The page has the class.
SAID_BY_THEMSELVES = {"ArgumentError", "ArgumentTypeError"}
# Plain errors of a signature or of a value type, which say what was expected. Also errors that the
# caller replaces by others, and the end of a process.
NOT_OURS_TO_EXPLAIN = {
    "TypeError",
    "ValueError",
    "OSError",
    "SystemExit",
    "AttributeError",
    "YAMLError",
    "ConstructorError",
    "NoAnswerError",
    "UnreachableStateError",
    "UnreachedError",
    "EvidenceError",
}


def read_quotations() -> list[str]:
    """Returns what the page quotes of messages, as regular expressions: their parts, in order."""
    found, column = [], None
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            column = None
        elif column is None:
            column = next((i for i, cell in enumerate(cells) if cell in QUOTING), -1)
        elif column >= 0:
            for quotation in re.findall(r"`([^`]+)`", cells[column]):
                parts = [re.escape(part.strip()) for part in quotation.split("...")]
                if " " in quotation:
                    found.append(".*".join(filter(None, parts)))
    return found


QUOTATIONS = read_quotations()


def is_explained(text: str) -> bool:
    return any(re.search(quotation, text, re.DOTALL) for quotation in QUOTATIONS)


def is_to_be_explained(message: Message) -> bool:
    words = message.text.replace("...", "").split()
    if len(words) < 2 or (message.kind == "error" and len(words) < 5):
        return False  # Computed, or the end of a sentence that is made elsewhere.
    return message.kind not in SAID_BY_THEMSELVES | NOT_OURS_TO_EXPLAIN


def test_the_page_explains_every_message() -> None:
    assert len(QUOTATIONS) > 100
    messages = [*python_messages(), *logged_in_cpp()]
    assert len(messages) > 100
    missing = [m for m in messages if is_to_be_explained(m) and not is_explained(m.text)]
    assert not missing, "\n".join(f"{m.where}: {m.kind}: {m.text}" for m in missing)


def test_the_page_has_every_class_of_error() -> None:
    raised = {message.kind for message in python_messages() if message.kind.endswith("Error")}
    expected = (raised | status_codes_in_cpp()) - NOT_OURS_TO_EXPLAIN
    # What the commit of a save calls it before it is an error of a save.
    hidden = {
        "OutOfRangeError",
        "ImportError",
        "LaunchError",
        "InOrderOnlyError",
        "NotTakenBackError",
        "NotOneInstantError",
        "StepsNotEndedError",
    }
    missing = {name for name in expected - hidden if name not in PAGE}
    assert not missing


@pytest.mark.parametrize("word", ["saved", "restored", "replicas"])
def test_a_message_that_nobody_explains_is_found(word: str) -> None:
    """Common words alone explain nothing."""
    assert not is_explained(f"{word} something else entirely")
