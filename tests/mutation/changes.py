"""Small changes of a Python file, each of which a good test notices.

A change replaces the text of one node of the syntax tree. Left alone, since no result depends on them:
docstrings, annotations, decorators, strings (so every message), the arguments of errors and warnings, and
what only type checkers read.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
EXCHANGED = {
    name: other
    for pair in (
        *(("min", "max"), ("minimum", "maximum"), ("argmin", "argmax"), ("any", "all"), ("sum", "mean")),
        *(("floor", "ceil"), ("nanmin", "nanmax"), ("nanargmin", "nanargmax"), ("zeros", "ones")),
        *(("union", "intersection"), ("startswith", "endswith")),
    )
    for name, other in (pair, pair[::-1])
}
BUILT_IN = {"min", "max", "any", "all"}
"""Of the exchanged names, those that need no module."""
CLAMPS = {"max", "min", "maximum", "minimum", "clip", "clamp", "abs", "round", "sorted", "nan_to_num", "sqrt"}
"""Functions of which only the first argument is left."""
SYMMETRIC = {"max", "min", "maximum", "minimum", "isclose", "array_equal", "logical_and", "logical_or", "gcd"}
IMMATERIAL = {"strict", "kind", "stacklevel", "dtype", "encoding", "help"}
"""Keywords that are not dropped: without them the same comes out, or a default that numpy infers."""
MESSAGES = ("Error", "Problem", "Warning", "warn", "say", "progress", "cast", "TypeVar")
Statement = ast.Raise | ast.AugAssign | ast.Continue | ast.Break | ast.Expr
"""Dropped; and assignments to a part of an object, and early returns."""


@dataclass(frozen=True)
class Change:
    """One change of one file."""

    file: str
    line: int
    start: int
    end: int
    """Bytes of the file that are replaced."""
    new: str
    text: str
    """The line, without indentation."""
    what: str
    in_function: bool
    """Whether it is in the body of a function, so that the module need not be imported anew."""
    number: int = 0
    """Which of the changes that read the same, in the order of the file."""

    @property
    def name(self) -> str:
        """What identifies the change while other lines of the file change."""
        number = f" ({self.number + 1})" if self.number else ""
        return f"{self.file}: {self.text} | {self.what}{number}"

    def applied(self, source: bytes) -> bytes:
        """The source with the change."""
        return source[: self.start] + self.new.encode() + source[self.end :]


def changes_of(file: str, source: bytes) -> list[Change]:
    """All changes of a file, in the order of its text."""
    walk = _Walk(source)
    walk.visit(ast.parse(source))
    lines = source.decode().splitlines()
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for node, new, what, in_function in walk.found:
        text = _short(lines[node.lineno - 1])
        number = seen[text, what]
        found.append(Change(file, node.lineno, *walk.span(node), new, text, what, in_function, number))
        seen[text, what] += 1
    return found


class _Walk(ast.NodeVisitor):
    def __init__(self, source: bytes) -> None:
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._in_constructor = False
        """Without what a constructor sets nothing works, so that it is not dropped."""
        self._functions = 0
        self.found: list[tuple[ast.expr | ast.stmt, str, str, bool]] = []

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _add(self, node: ast.expr | ast.stmt, new: ast.AST | str) -> None:
        text = new if isinstance(new, str) else ast.unparse(new)
        if isinstance(node, ast.expr):
            text = f"({text})"
        what = f"{_short(ast.unparse(node))} → {_short(text)}"
        self.found.append((node, text, what, self._functions > 0))

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.JoinedStr) or _is_type_checking(node) or _is_message(node):
            return
        if isinstance(node, ast.expr):
            for new in _of_expression(node):
                self._add(node, new)
        elif _is_statement(node) or (_stores_in_part(node) and not self._in_constructor):
            self._add(node, "pass")
        elif isinstance(node, ast.If | ast.For | ast.While | ast.With):
            for early in (part for part in node.body if isinstance(part, ast.Return)):
                self._add(early, "pass")
        if isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
            self._add(node, _with(node, op=OPERATORS[type(node.op)]()))
        if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(
            node.test, ast.Compare | ast.UnaryOp
        ):
            self._add(node.test, ast.UnaryOp(ast.Not(), node.test))
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            self._visit_function(node)
        else:
            for child in _children(node):
                self.visit(child)

    def _visit_function(self, node: ast.FunctionDef | ast.Lambda) -> None:
        self.visit(node.args)  # defaults
        outside = self._in_constructor
        self._in_constructor = isinstance(node, ast.FunctionDef) and node.name == "__init__"
        self._functions += 1
        for child in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(child)
        self._functions -= 1
        self._in_constructor = outside


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node that are read when the program runs, without annotations and decorators."""
    left_out = {"annotation", "returns", "decorator_list", "bases", "type_params"}
    if isinstance(node, ast.Raise) or _is_type(node):
        return
    if isinstance(node, ast.keyword) and node.arg in IMMATERIAL:
        return
    for name, value in ast.iter_fields(node):
        if name not in left_out:
            yield from (part for part in (value if isinstance(value, list) else [value]) if _is_node(part))


def _is_node(part: object) -> bool:
    return isinstance(part, ast.AST)


def _of_expression(node: ast.expr) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=ops):
            for index, operator in enumerate(ops):
                for other in COMPARISONS[type(operator)]:
                    yield _with(node, ops=[*ops[:index], other(), *ops[index + 1 :]])
        case ast.BinOp(left=left, right=right, op=operator) if type(operator) in OPERATORS:
            if not (_is_text(left) or _is_text(right) or _is_file_name(right)):
                yield _with(node, op=OPERATORS[type(operator)]())
        case ast.BoolOp(op=operator):
            yield _with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
            if value:
                yield ast.Constant(value - 1)
        case ast.Call():
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[ast.AST]:
    name = _called(node)
    arguments = node.args
    if name in EXCHANGED and (name in BUILT_IN or isinstance(node.func, ast.Attribute)):
        yield _with(node, func=_renamed(node.func, EXCHANGED[name]))
    if name in CLAMPS and arguments and not isinstance(arguments[0], ast.GeneratorExp | ast.Starred):
        yield ast.Call(ast.Name("list"), arguments[:1], []) if name == "sorted" else arguments[0]
    alike = len(arguments) >= 2 and type(arguments[0]) is type(arguments[1]) is not ast.Starred
    if alike and name not in SYMMETRIC:
        yield _with(node, args=[arguments[1], arguments[0], *arguments[2:]])
    for index, keyword in enumerate([] if _is_class(name) else node.keywords):
        if keyword.arg is not None and keyword.arg not in IMMATERIAL:
            yield _with(node, keywords=[*node.keywords[:index], *node.keywords[index + 1 :]])


def _is_class(name: str) -> bool:
    """Classes mostly need all their arguments, so that a missing one cannot go unnoticed."""
    return name == "cls" or name[:1].isupper()


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _renamed(function: ast.expr, name: str) -> ast.AST:
    return _with(function, **{"attr" if isinstance(function, ast.Attribute) else "id": name})


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_file_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id.isupper()


def _is_statement(node: ast.AST) -> bool:
    is_docstring = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call)
    return isinstance(node, Statement) and not is_docstring


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _is_message(node: ast.AST) -> bool:
    """Whether a call makes an error, a warning or a line of a log."""
    call = node.value if isinstance(node, ast.Expr) else node
    return isinstance(call, ast.Call) and _called(call).endswith(MESSAGES)


def _is_type(node: ast.AST) -> bool:
    if not isinstance(node, ast.Subscript):
        return False
    name = ast.unparse(node.value).rpartition(".")[2]
    return name in {"Literal", "NDArray", "Callable", "tuple", "list", "dict", "Mapping", "Sequence"}


def _stores_in_part(node: ast.AST) -> bool:
    """Whether a statement assigns to an attribute or a cell."""
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)


def _short(text: str, most: int = 100) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
