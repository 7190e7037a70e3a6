"""What a cell displays: it appears as ever, is noted on its way, and is shown again in the same order."""

from __future__ import annotations

import sys
from typing import Any, Final, NamedTuple

__all__ = ["Output", "Recorder", "Shown", "replay"]

STREAMS: Final = ("stdout", "stderr")


class Output(NamedTuple):
    """One piece of output."""

    kind: str
    """``stdout``, ``stderr``, ``display``, ``update``, ``clear`` or ``result``."""
    data: Any
    """The text of a stream; of a display or result its representations by MIME type; of clear whether it waits."""
    metadata: Any = None
    transient: Any = None


class Shown(NamedTuple):
    """The representations of a result as the cell displayed it."""

    data: dict[str, Any]
    metadata: dict[str, Any]

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.data, self.metadata


class Recorder:
    """Notes the outputs of a cell between `begin` and `end`."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._publisher = shell.display_pub
        self._hook = shell.displayhook
        self._streams: dict[str, Any] = {}
        self._replaced: list[tuple[Any, str, Any]] = []
        self.outputs: list[Output] = []
        self.result: Any = None
        """The value of the last expression, if it was displayed."""
        self.failed = False
        """Whether a traceback was displayed, also by a magic that does not pass the exception on."""

    def begin(self) -> None:
        """Puts itself between the cell and what displays its outputs."""
        for name in STREAMS:
            stream = getattr(sys, name)
            self._streams[name] = stream
            setattr(sys, name, _Tee(stream, name, self.outputs))
        publisher, hook, shell = self._publisher, self._hook, self._shell
        publish, clear, format_data = publisher.publish, publisher.clear_output, hook.compute_format_data
        start, finish, traceback = hook.start_displayhook, hook.finish_displayhook, shell.showtraceback
        untold: list[_Untold] = []

        def noted_publish(data: Any, metadata: Any = None, **more: Any) -> Any:
            kind = "update" if more.get("update") else "display"
            with self._apart():
                publish(data, metadata, **more)
            self.outputs.append(Output(kind, dict(data), metadata, more.get("transient")))

        def noted_clear(wait: bool = False) -> Any:
            self.outputs.append(Output("clear", wait))
            with self._apart():
                clear(wait)

        def noted_format(result: Any) -> Any:
            found: tuple[dict[str, Any], dict[str, Any]] = format_data(result)
            self.result = result
            self.outputs.append(Output("result", *found))
            return found

        def untold_start() -> None:
            untold.append(self._apart())
            untold[-1].__enter__()
            start()

        def untold_finish() -> None:
            finish()
            untold.pop().__exit__()

        def noted_traceback(*args: Any, **kwargs: Any) -> Any:
            self.failed = True
            return traceback(*args, **kwargs)

        self._replace(publisher, "publish", noted_publish)
        self._replace(publisher, "clear_output", noted_clear)
        self._replace(hook, "compute_format_data", noted_format)
        self._replace(hook, "start_displayhook", untold_start)
        self._replace(hook, "finish_displayhook", untold_finish)
        self._replace(shell, "showtraceback", noted_traceback)

    def _replace(self, place: Any, name: str, function: Any) -> None:
        attributes: dict[str, Any] = place.__dict__
        self._replaced.append((place, name, attributes.get(name)))
        setattr(place, name, function)

    def end(self) -> None:
        """Takes itself out again, whatever the cell has put in its place meanwhile."""
        for name, stream in self._streams.items():
            if isinstance(getattr(sys, name), _Tee):
                setattr(sys, name, stream)
        for place, name, former in self._replaced:
            delattr(place, name) if former is None else setattr(place, name, former)

    def _apart(self) -> _Untold:
        """A terminal's publisher prints: that text is no output of its own."""
        return _Untold(self._streams)


class _Untold:
    """Puts the plain streams back for a moment."""

    def __init__(self, streams: dict[str, Any]) -> None:
        self._streams = streams
        self._tees: dict[str, Any] = {}

    def __enter__(self) -> None:
        for name, stream in self._streams.items():
            self._tees[name] = getattr(sys, name)
            setattr(sys, name, stream)

    def __exit__(self, *_: object) -> None:
        for name, tee in self._tees.items():
            setattr(sys, name, tee)


class _Tee:
    """A stream that passes everything on, and notes the text."""

    def __init__(self, stream: Any, name: str, outputs: list[Output]) -> None:
        self._stream = stream
        self._name = name
        self._outputs = outputs

    def write(self, text: str) -> int:
        written: int = self._stream.write(text)
        outputs = self._outputs
        if outputs and outputs[-1].kind == self._name:
            outputs[-1] = Output(self._name, outputs[-1].data + text)
        else:
            outputs.append(Output(self._name, text))
        return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def replay(shell: Any, outputs: list[Output]) -> None:
    """Shows outputs again. That of a result is left out: IPython shows it as the result of the cell."""
    for kind, data, metadata, transient in outputs:
        if kind in STREAMS:
            stream = getattr(sys, kind)
            stream.write(data)
            stream.flush()
        elif kind == "clear":
            shell.display_pub.clear_output(data)
        elif kind in ("display", "update"):
            shell.display_pub.publish(data, metadata, transient=transient or {}, update=kind == "update")
