"""Small edits of a function's syntax tree: each is a mistake that somebody could have made.

Deleted, scaled, sign flipped, transposed, a mask or a mean dropped, operands swapped. What names axes,
types and places (keywords, indices) or refuses what does not fit (raise, assert, _check...) is left alone.
"""

import ast
import copy
from functools import partial
from itertools import islice

LEFT_ALONE = (ast.Raise, ast.Assert, ast.keyword, ast.arguments, ast.JoinedStr, ast.Lambda)
OPPOSITE = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
}
RENAMED = {"mean": "sum", "sum": "mean", "maximum": "minimum", "minimum": "maximum"}
RENAMED |= {"zeros_like": "ones_like", "ones_like": "zeros_like", "argmax": "argmin"}
REFUSE = ("_check", "check", "refuse", "fits", "fitting")
KEPT_CALLS = (
    "eye",
    "arange",
    "zeros",
    "ones",
    "finfo",
    "len",
    "range",
    "float",
    "int",
    "max",
    "min",
)
KEPT_CALLS += ("any", "all", "list", "tuple", "enumerate", "to_device", "to_host")
"""Calls of one argument that cannot be replaced by it: the argument is a size, or is only moved."""


def edits_of(tree):
    """Every edit of a function: (what is done, the old piece, the new piece, make the edited function)."""
    for k, (parent, node) in enumerate(_editable(tree)):
        for what, new in _edits(node, parent):
            new = ast.fix_missing_locations(ast.copy_location(new, node))
            if _text(new) == _text(node):  # the two operands are one and the same
                continue
            yield what, _text(node), _text(new), partial(_edited, tree, k, new)


def _edited(tree, k, new):
    """A copy of a function with another piece in its k-th place."""
    changed = copy.deepcopy(tree)
    parent, old = next(islice(_editable(changed), k, None))
    _replace(parent, old, copy.deepcopy(new))
    return ast.fix_missing_locations(changed)


def _editable(tree):
    """(parent, node) for all nodes that may be edited, always in the same order."""
    for statement in tree.body:
        yield from _below(tree, statement)


def _below(parent, node):
    if isinstance(node, LEFT_ALONE) or _is_docstring(node) or _refuses(node):
        return
    yield parent, node
    for name, value in ast.iter_fields(node):
        if isinstance(node, ast.Subscript) and name == "slice":
            continue
        if isinstance(node, ast.If) and name == "test":
            continue
        if isinstance(node, ast.AnnAssign) and name == "annotation":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _below(node, child)


def _is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _refuses(node):
    """self._check_inputs(X): about what comes in, not about what is computed."""
    call = node.value if isinstance(node, ast.Expr) else node
    return isinstance(call, ast.Call) and _called(call).startswith(REFUSE)


def _called(call):
    """The name of the function that is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _replace(parent, old, new):
    for name, value in ast.iter_fields(parent):
        if value is old:
            setattr(parent, name, new)
        elif isinstance(value, list):
            value[:] = [new if child is old else child for child in value]


def _text(node):
    return " ".join(ast.unparse(node).split())


# What can be done to one node --------------------------------------------------------------------


def _edits(node, parent):
    """(what, the node in its place)"""
    if isinstance(node, ast.BinOp):
        yield from _of_operation(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        if not isinstance(node.operand, ast.Constant):
            yield "flip the sign", node.operand
    elif isinstance(node, ast.Attribute) and node.attr == "mT":
        yield "drop the transposition", node.value
    elif isinstance(node, ast.Call):
        yield from _of_call(node)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in OPPOSITE:
        turned = OPPOSITE[type(node.ops[0])]()
        yield "turn the comparison", ast.Compare(node.left, [turned], node.comparators)
    elif isinstance(node, ast.AugAssign):
        yield "delete", ast.Pass()
        if type(node.op) in OPPOSITE:
            yield "flip the sign", ast.AugAssign(node.target, OPPOSITE[type(node.op)](), node.value)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "delete", ast.Pass()
    elif isinstance(node, ast.Assign) and _is_amount(node.value):
        if isinstance(node.targets[0], ast.Name | ast.Subscript | ast.Attribute):
            yield "double", ast.Assign(node.targets, _double(node.value))
    elif isinstance(node, ast.Return) and node.value is not None:
        yield from _of_return(node.value)
    elif isinstance(parent, ast.BinOp) and _is_number(node):
        yield "double the constant", ast.Constant(2 * node.value)


def _is_amount(node):
    """Can it be doubled, or turned round? A mask cannot, and twice nothing is nothing."""
    if isinstance(node, ast.BinOp):
        return not isinstance(node.op, ast.BitOr | ast.BitAnd)
    no_amount = ("empty", "zeros", "zeros_like", "isfinite")
    return isinstance(node, ast.Call) and _called(node) not in no_amount


def _is_number(node):
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return False
    return isinstance(node.value, int | float) and node.value != 0


def _of_operation(node):
    left, right, op = node.left, node.right, node.op
    if isinstance(op, ast.Add | ast.Sub):
        yield "flip the sign", ast.BinOp(left, OPPOSITE[type(op)](), right)
        yield "delete the last term", left
        alone = right if isinstance(op, ast.Add) else ast.UnaryOp(ast.USub(), right)
        yield "delete the first term", alone
    elif isinstance(op, ast.Mult):
        yield "delete the last factor", left
        yield "delete the first factor", right
    elif isinstance(op, ast.Div):
        yield "delete the divisor", left
        yield "swap the operands", ast.BinOp(right, op, left)
    elif isinstance(op, ast.MatMult):
        yield "swap the operands", ast.BinOp(right, op, left)
    elif isinstance(op, ast.Pow):
        yield "drop the power", left


def _of_call(node):
    named = isinstance(node.func, ast.Attribute)
    name = _called(node)
    if name in RENAMED and named:
        other = ast.Attribute(node.func.value, RENAMED[name], ast.Load())
        yield f"{name} to {RENAMED[name]}", ast.Call(other, node.args, node.keywords)
    if name == "matmul":
        a, b, *rest = node.args
        yield "swap the operands", ast.Call(node.func, [b, a, *rest], node.keywords)
    elif name == "where" and len(node.args) == 3:
        condition, first, second = node.args
        yield "always the first", first
        yield "always the second", second
        yield "swap the operands", ast.Call(node.func, [condition, second, first], node.keywords)
    elif name in ("maximum", "minimum"):
        yield f"drop the {name}", node.args[0]
    elif len(node.args) == 1 and not node.keywords and name and name not in KEPT_CALLS:
        of_a_result = named and isinstance(node.func.value, ast.Call)
        if not of_a_result and name != "astype":
            yield f"drop {name}", node.args[0]


def _of_return(value):
    """Results doubled, and turned round: each alone where there are several."""
    if not isinstance(value, ast.Tuple):
        if isinstance(value, ast.Name) or _is_amount(value):
            yield "double the result", ast.Return(_double(value))
            yield "turn the result round", ast.Return(ast.UnaryOp(ast.USub(), value))
        return
    for i, one in enumerate(value.elts):
        for what, changed in (
            (f"double result {i}", _double(one)),
            (f"turn result {i} round", ast.UnaryOp(ast.USub(), one)),
        ):
            if isinstance(one, ast.Name | ast.UnaryOp) or _is_amount(one):
                elements = [*value.elts[:i], changed, *value.elts[i + 1 :]]
                yield what, ast.Return(ast.Tuple(elements, ast.Load()))


def _double(value):
    return ast.BinOp(ast.Constant(2), ast.Mult(), value)
