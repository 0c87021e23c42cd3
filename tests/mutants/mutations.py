"""Small faults that can be put into a source file, found in its syntax tree."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SWAPS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
CALLS |= {
    "amax": "amin",
    "amin": "amax",
    "argmax": "argmin",
    "argmin": "argmax",
    "floor": "ceil",
    "ceil": "floor",
}
# Keywords that speed up or lay out what is done: no behaviour depends on them.
SILENT = {"non_blocking", "leave", "disable", "exist_ok", "pin_memory", "persistent_workers", "indent"}
SILENT |= {"broadcast_buffers", "gradient_as_bucket_view", "daemon"}
# What these calls hold is text for a person.
TOLD = {
    "print",
    "update",
    "set_description",
    "set_postfix",
    "add_argument",
    "warn",
    "warning",
    "info",
    "error",
    "debug",
    "UserError",
    "TypeVar",
}


@dataclass(frozen=True)
class Mutant:
    """A fault: the bytes from `start` to `end` of a file become `text`.

    Attributes:
        path: the file, relative to the repository.
        line: its line, from 1.
        function: the qualified name of the innermost function around it; "": none.
        start, end: offsets in bytes.
        text: what stands there instead.
    """

    path: Path
    line: int
    function: str
    start: int
    end: int
    text: str

    def apply(self, source: bytes) -> bytes:
        """The file with the fault."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def describe(self, source: bytes, line: bool = True) -> str:
        """Location and change; without the line it is true after changes elsewhere in the file, too."""
        before = b" ".join(source[self.start : self.end].split()).decode()
        place = f"{self.path}:{self.line}" if line else str(self.path)
        return f"{place}: {before[:70]} -> {self.text[:70]}"


def find_mutants(path: Path, source: bytes) -> list[Mutant]:
    """All faults for a file."""
    lines = [0]
    for line in source.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    found = []
    for node, function, replacement in _visit(ast.parse(source), "", ""):
        start = lines[node.lineno - 1] + node.col_offset
        end = lines[node.end_lineno - 1] + node.end_col_offset
        text = ast.unparse(replacement)
        text = f"({text})" if isinstance(replacement, ast.expr) else text
        found.append(Mutant(path, node.lineno, function, start, end, text))
    return found


def _visit(node: ast.AST, function: str, scope: str) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    """The nodes below that can be replaced, the functions they are in, and what replaces them."""
    for replacement in _replacements(node):
        yield node, function, replacement
    plain = isinstance(node, ast.If | ast.While) and isinstance(
        node.test, ast.Name | ast.Attribute | ast.Call
    )
    if plain and not _is_main(node):
        yield node.test, function, ast.UnaryOp(ast.Not(), node.test)
    if isinstance(node, ast.FunctionDef):
        function = scope + node.name
        scope = f"{function}.<locals>."
    elif isinstance(node, ast.ClassDef):
        scope = f"{scope}{node.name}."
    for child in _children(node):
        yield from _visit(child, function, scope)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """What is run, and no text: no annotations, decorators, messages or f-strings.

    Python 3.11 also mistakes the places of what is in an f-string.
    """
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert) or _is_told(node) or _is_main(node):
        return
    if isinstance(node, ast.keyword) and node.arg in SILENT:
        return
    if isinstance(node, ast.Call) and _name(node.func) == "zip":  # whose `strict` is a check
        yield from node.args
        return
    skipped = {"annotation", "returns", "decorator_list"}
    for name, value in ast.iter_fields(node):
        if name in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child


def _is_told(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _name(node.func) in TOLD


def _is_main(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[op]):
            for swap in SWAPS[type(op)]:
                yield _with(node, ops=[swap()])
        case ast.BoolOp(op=op):
            yield _with(node, op=SWAPS[type(op)][0]())
        case ast.BinOp(op=op) if type(op) in SWAPS and not _is_text(node):
            yield _with(node, op=SWAPS[type(op)][0]())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.IfExp(test=test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Call(func=function) if _name(function) in CALLS:
            changed = copy.deepcopy(function)
            setattr(changed, "id" if isinstance(changed, ast.Name) else "attr", CALLS[_name(function)])
            yield _with(node, func=changed)
        case ast.Subscript(slice=ast.Slice(lower=lower, upper=upper) as part):
            if lower is not None:
                yield _with(node, slice=_with(part, lower=None))
            if upper is not None:
                yield _with(node, slice=_with(part, upper=None))
        case ast.Expr(value=ast.Call()) if not _is_told(node.value):
            yield ast.ExpertJob()
        case ast.AugAssign():
            yield ast.ExpertJob()
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()


def _with(node: ast.AST, **changes: object) -> ast.AST:
    """A copy of a node with other fields."""
    return type(node)(**{**dict(ast.iter_fields(node)), **changes})


def _is_text(node: ast.BinOp) -> bool:
    """Whether it joins texts, paths or types: such a fault ends in a TypeError and tells nothing."""
    words = ("path", "folder", "root", "file", "None", "Path", "dir")
    joined = isinstance(node.op, ast.Div | ast.BitOr) and any(word in ast.unparse(node) for word in words)
    texts = any(
        isinstance(x, ast.JoinedStr) or (isinstance(x, ast.Constant) and isinstance(x.value, str))
        for x in ast.walk(node)
    )
    return joined or texts
