"""Values of frames as objects: what the native module calls for encoders that it does not know.

Every decoder takes any bytes, and returns a value or raises. Only a pickle can run code, and is loaded only if it is
signed.
"""

from __future__ import annotations

import pickle
from typing import Any

from ..errors import UnreadableValueError, UntrustedValueError
from .codec import undo
from .files import BodyFile
from .numbers import ARRAY, ARROW, BUFFERS, BYTES, JSON, OWN, PICKLE, TEXT

__all__ = ["decode"]


def decode(encoder: int, filters: bytes, source: Any, may_run: bool, is_aligned: bool) -> Any:
    """The value of bytes, or of a file, after those filters that the native module has not undone.

    Raises:
        UnreadableValueError: The value is damaged, or needs what is not here.
        UntrustedValueError: It is a pickle that may not run.
    """
    place: Any = source
    is_file = isinstance(source, tuple)
    try:
        if is_file:
            with BodyFile(*place) as file:
                return _of_file(encoder, file, may_run, is_aligned)
        return _of_bytes(encoder, undo(filters, place) if filters else place, may_run, is_aligned)
    except (UnreadableValueError, UntrustedValueError):
        raise
    except Exception as error:
        raise UnreadableValueError(f"the value cannot be read: {type(error).__name__}: {error}") from error
    except BaseException as error:
        # How polars gives up on bytes that it did not write.
        if type(error).__name__ != "PanicException":
            raise
        raise UnreadableValueError("the value cannot be read: it is no table") from error


def _of_bytes(encoder: int, data: Any, may_run: bool, is_aligned: bool) -> Any:
    if encoder == ARRAY:
        from .array import decode
    elif encoder == JSON:
        from .json import decode
    elif encoder == BUFFERS:
        from .pickled import decode
    elif encoder == ARROW:
        from .arrow import decode
    else:
        decode = _DECODERS.get(encoder, _unknown)
    return decode(data, may_run, is_aligned)


def _of_file(encoder: int, file: BodyFile, may_run: bool, is_aligned: bool) -> Any:
    if encoder == ARRAY:
        from .array import decode_file

        return decode_file(file, is_aligned)
    if encoder == ARROW:
        from . import arrow

        return arrow.decode_file(file)
    from . import pickled

    return pickled.decode_file(file, may_run)


def _text(data: Any, may_run: bool, is_aligned: bool) -> str:
    return bytes(data).decode()


def _bytes(data: Any, may_run: bool, is_aligned: bool) -> bytes:
    return bytes(data)


def _pickle(data: Any, may_run: bool, is_aligned: bool) -> Any:
    from .pickled import refuse_unless

    refuse_unless(may_run)
    return pickle.loads(data)


def _own(data: Any, may_run: bool, is_aligned: bool) -> Any:
    from .own import find, split

    name, rest = split(data)
    return find("encoder", name).decode(bytes(rest))


def _unknown(data: Any, may_run: bool, is_aligned: bool) -> Any:
    raise UnreadableValueError("the value has an encoder that this version does not know; upgrade dolium")


_DECODERS = {TEXT: _text, BYTES: _bytes, PICKLE: _pickle, OWN: _own}
