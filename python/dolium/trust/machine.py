"""An interpreter of pickles that has no operation to run anybody's code."""

from __future__ import annotations

import pickle
import pickletools
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

from .names import TAKE_NAMES, lookup
from .values import INTERNAL, Args, Name, Pending, exactly, refuse


class Machine:
    """Runs a pickle without ever touching an object other than by the functions above."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for opcode, arg, _ in pickletools.genops(data):
            name = opcode.name
            if name in _PUSHED:
                self.stack.append(arg)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif (step := _STEPS.get(name)) is not None:
                step(self, arg)
            elif name not in _IGNORED:
                refuse(f"the opcode {name}")
        return self.data(self.pop())

    def data(self, value: Any) -> Any:
        """The value, if it is data."""
        if type(value) in INTERNAL:
            refuse(str(value) if exactly(value, Name) else "an incomplete value")
        return value

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise pickle.UnpicklingError("the stack is empty")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def discard(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def dup(self, _: Any) -> None:
        self.stack.append(self.top())

    def text(self, arg: str) -> None:
        """Text of Python 2, which :func:`pickle.loads` takes if it is ASCII."""
        arg.encode("ascii")
        self.stack.append(arg)

    def put(self, arg: int) -> None:
        value = self.memo[arg] = self.top()
        if exactly(value, Pending):
            value.places.append(arg)

    def memoize(self, _: Any) -> None:
        self.put(len(self.memo))

    def get(self, arg: int) -> None:
        self.stack.append(self.memo[arg])

    def tuple_of(self, items: list[Any]) -> None:
        internal = any(type(item) in INTERNAL for item in items)
        self.stack.append(Args(items) if internal else tuple(items))

    def new_tuple(self, _: Any) -> None:
        self.tuple_of(self.pop_mark())

    def tuple1(self, _: Any) -> None:
        self.tuple_of([self.pop()])

    def tuple2(self, _: Any) -> None:
        last = self.pop()
        self.tuple_of([self.pop(), last])

    def tuple3(self, _: Any) -> None:
        last, middle = self.pop(), self.pop()
        self.tuple_of([self.pop(), middle, last])

    def new_list(self, _: Any) -> None:
        self.stack.append([self.data(item) for item in self.pop_mark()])

    def new_dict(self, _: Any) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.fill(items)

    def new_frozenset(self, _: Any) -> None:
        self.stack.append(frozenset(self.data(item) for item in self.pop_mark()))

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if not exactly(target, list, deque):
            raise pickle.UnpicklingError("only a list can be appended to")
        target.extend([self.data(item) for item in items])

    def append(self, _: Any) -> None:
        self.extend([self.pop()])

    def appends(self, _: Any) -> None:
        self.extend(self.pop_mark())

    def additems(self, _: Any) -> None:
        items = self.pop_mark()
        target = self.top()
        if not exactly(target, set):
            raise pickle.UnpicklingError("only a set can be added to")
        target.update([self.data(item) for item in items])

    def fill(self, items: list[Any]) -> None:
        target = self.top()
        if not exactly(target, dict, OrderedDict, defaultdict) or len(items) % 2:
            raise pickle.UnpicklingError("only a dict has items")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self.data(key)] = self.data(value)

    def setitem(self, _: Any) -> None:
        value = self.pop()
        self.fill([self.pop(), value])

    def setitems(self, _: Any) -> None:
        self.fill(self.pop_mark())

    def name(self, arg: str) -> None:
        # The two lines of the opcode come joined by a space. Neither has one on our list.
        module, _, name = arg.partition(" ")
        self.stack.append(lookup(module, name))

    def stack_name(self, _: Any) -> None:
        name = self.pop()
        self.stack.append(lookup(self.pop(), name))

    def call(self, callee: Any, args: Any) -> None:
        if not exactly(callee, Name):
            refuse("a call of something that is no name")
        if callee.make is None:
            refuse(str(callee))
        if exactly(args, Args) and callee.make not in TAKE_NAMES:
            refuse(f"{callee} of something that is not data")
        if not exactly(args, tuple, Args):
            raise pickle.UnpicklingError("arguments are a tuple")
        self.stack.append(callee.make(args))

    def reduce(self, _: Any) -> None:
        args = self.pop()
        self.call(self.pop(), args)

    def newobj(self, _: Any) -> None:
        args = self.pop()
        callee = self.pop()
        if not exactly(callee, Name) or callee.where != ("uuid", "UUID"):
            refuse(f"{callee} by __new__")
        self.call(callee, args)

    def build(self, _: Any) -> None:
        state = self.pop()
        target = self.pop()
        if not exactly(target, Pending):
            refuse(f"the state of a {type(target).__name__}")
        value = target.build(state)
        self.stack.append(value)
        for index in target.places:
            if self.memo[index] is target:
                self.memo[index] = value


_Step = Callable[[Machine, Any], None]

#: Opcodes whose argument is the value.
_PUSHED = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
})  # fmt: skip
_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
#: What is in none of these tables is refused: persistent ids, extension codes, INST and OBJ (used
#: for old-style classes of Python 2), NEWOBJ_EX, out-of-band buffers.
_STEPS: dict[str, _Step] = {
    "ADDITEMS": Machine.additems,
    "APPEND": Machine.append,
    "APPENDS": Machine.appends,
    "BINGET": Machine.get,
    "BINPUT": Machine.put,
    "BINSTRING": Machine.text,
    "BUILD": Machine.build,
    "DICT": Machine.new_dict,
    "DUP": Machine.dup,
    "FROZENSET": Machine.new_frozenset,
    "GET": Machine.get,
    "GLOBAL": Machine.name,
    "LIST": Machine.new_list,
    "LONG_BINGET": Machine.get,
    "LONG_BINPUT": Machine.put,
    "MARK": Machine.mark,
    "MEMOIZE": Machine.memoize,
    "NEWOBJ": Machine.newobj,
    "POP": Machine.discard,
    "POP_MARK": lambda machine, _: machine.pop_mark().clear(),
    "PUT": Machine.put,
    "REDUCE": Machine.reduce,
    "SETITEM": Machine.setitem,
    "SETITEMS": Machine.setitems,
    "SHORT_BINSTRING": Machine.text,
    "STACK_GLOBAL": Machine.stack_name,
    "STRING": Machine.text,
    "TUPLE": Machine.new_tuple,
    "TUPLE1": Machine.tuple1,
    "TUPLE2": Machine.tuple2,
    "TUPLE3": Machine.tuple3,
}
