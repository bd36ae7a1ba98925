"""The messages that the sources raise and log, as templates with `...` where a value goes."""

import ast
import dataclasses
import re
from collections.abc import Iterator

from support.python_programs import ROOT

PACKAGE = ROOT / "python" / "autodist"

# The demo checks itself, and its errors are said on its own page of output.
_APART = {"demo"}
_LOGGED = {"info", "warning", "error"}
# Methods that pass a warning on, once for each session.
_WARNS = re.compile(r"_?(tell|notify|warn)\w*")
_PLACEHOLDER = re.compile(r"%[-.\d]*[sdrfgx]")


@dataclasses.dataclass(frozen=True)
class Message:
    """A message of the sources.

    Attributes:
        where: The file and line.
        kind: The class that is raised, or the level at which it is logged.
        text: The template; empty where all of it is computed.
    """

    where: str
    kind: str
    text: str


def python_messages() -> Iterator[Message]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE)
        if name.parts[0] in _APART:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found = _message_of(node)
            if found is not None:
                yield Message(f"{name}:{getattr(node, 'lineno', 0)}", *found)


def logged_in_cpp() -> Iterator[Message]:
    """The first literal of each `LOG(...)`."""
    for path in sorted((ROOT / "cc").rglob("*.cc")):
        for match in re.finditer(r"\bLOG\((\w+)\)", path.read_text(encoding="utf-8")):
            statement = path.read_text(encoding="utf-8")[match.end() :].split(";")[0]
            texts = re.findall(r'"((?:[^"\\]|\\.)*)"', statement)
            yield Message(path.name, match[1], "...".join(texts))


def status_codes_in_cpp() -> set[str]:
    """The classes of `tf.errors` that C++ raises, as `DataLossError`; tests left out."""
    codes: set[str] = set()
    for path in (ROOT / "cc").rglob("*.*"):
        if path.suffix in (".cc", ".h") and not re.search(r"_test|fuzz|faulty", str(path)):
            codes.update(re.findall(r"\babsl::([A-Z]\w+Error)\(", path.read_text(encoding="utf-8")))
    return codes


def _message_of(node: ast.AST) -> tuple[str, str] | None:
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return ast.unparse(node.exc.func).rpartition(".")[2], _first_text(node.exc.args)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        logger = ast.unparse(node.func.value).lower()
        if node.func.attr in _LOGGED and "log" in logger:
            return node.func.attr, _first_text(node.args)
        if _WARNS.fullmatch(node.func.attr):
            return "warning", _first_text(node.args)
    return None


def _first_text(arguments: list[ast.expr]) -> str:
    texts = (_template(argument) for argument in arguments)
    return next((text for text in texts if re.search(r"[a-z]{3}", text)), "")


def _template(expression: ast.expr) -> str:
    if isinstance(expression, ast.Constant):
        text = expression.value if isinstance(expression.value, str) else ""
        return _PLACEHOLDER.sub("...", text)
    if isinstance(expression, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else "..." for part in expression.values
        )
    if isinstance(expression, ast.BinOp):
        return _template(expression.left) + _template(expression.right)
    return "..."
