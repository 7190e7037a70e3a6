"""Streams of Arrow's IPC format, looked through before a library reads them.

A library believes more than it should: a compressed buffer says how much memory to take, and an extension type names
code that a program registered. So only uncompressed batches of plain types pass.
"""

from __future__ import annotations

import struct

__all__ = ["check"]

_CONTINUED = b"\xff\xff\xff\xff"
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_EXTENSION = b"ARROW:extension:"


def check(stream: memoryview) -> None:
    """Raise unless the stream is a schema and batches without compression and extension types.

    Raises:
        ValueError: it is something else.
    """
    at, is_first = 0, True
    while at < len(stream):
        if bytes(stream[at : at + 4]) != _CONTINUED:
            raise ValueError("a message of Arrow does not begin as one")
        (length,) = struct.unpack_from("<i", stream, at + 4)
        at += 8
        if length == 0:
            break
        if length < 0 or at + length > len(stream):
            raise ValueError("a message of Arrow is cut")
        kind, body = _message(stream[at : at + length], is_first)
        if is_first != (kind == _SCHEMA) or body < 0:
            raise ValueError("a stream of Arrow has messages in a wrong order")
        is_first = False
        at += length + body
    if is_first or at != len(stream):
        raise ValueError("a stream of Arrow is cut, or longer than it says")


def _message(data: memoryview, is_first: bool) -> tuple[int, int]:
    """The kind of a message, and the length of its body."""
    root = _offset(data, 0)
    kind_at, header_at, body_at = (_field(data, root, number) for number in (1, 2, 3))
    kind = data[kind_at] if kind_at else 0
    (body,) = struct.unpack_from("<q", data, body_at) if body_at else (0,)
    if kind == _SCHEMA:
        if _EXTENSION in bytes(data):
            raise ValueError("a table of Arrow has an extension type, which is not loaded")
        return kind, body
    if kind not in (_DICTIONARY, _BATCH) or not header_at:
        raise ValueError("a stream of Arrow has a message that is no table")
    table = _offset(data, header_at)
    if kind == _DICTIONARY:
        table = _offset(data, _needed(_field(data, table, 1)))
    if _field(data, table, 3):
        raise ValueError("a batch of Arrow is compressed")
    return kind, body


def _needed(at: int) -> int:
    if not at:
        raise ValueError("a message of Arrow lacks a part")
    return at


def _offset(data: memoryview, at: int) -> int:
    (forward,) = struct.unpack_from("<I", data, at)
    return at + forward


def _field(data: memoryview, table: int, number: int) -> int:
    """Where a field of a table is; 0 if it is not there."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    if vtable < 0:
        raise ValueError("a message of Arrow points outside")
    (size,) = struct.unpack_from("<H", data, vtable)
    place = 4 + 2 * number
    if place + 2 > size:
        return 0
    (forward,) = struct.unpack_from("<H", data, vtable + place)
    return table + forward if forward else 0
