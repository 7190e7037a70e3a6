"""What a worker does with an item: compute it, store the result, and say so."""

from __future__ import annotations

import os
from typing import Any

from ..constants import MISS
from ..functions.cached import Computation
from ..functions.flight import run
from ..functions.modes import MODE, OFF, REFRESH
from .outcome import BUSY, ERROR, KEPT, VALUE, Report, packed, trace_of
from .shipment import Shipment


class _Busy:
    """What a flight returns in place of a result that another caller computes."""


_BUSY = _Busy()


def perform(shipment: Shipment, args: tuple[Any, ...], key: Any, is_patient: bool, sends: bool) -> Report:
    """Compute one item. Nothing that the function raises is raised here."""
    work = Work(shipment, key)
    try:
        report = shipment.context.copy().run(work.report, shipment.prefix + args, is_patient, sends)
    except BaseException as error:
        payload = packed(error) if shipment.is_remote else error
        report = Report(ERROR, payload, work.seconds, work.ran, trace_of(error))
    return report._replace(process=os.getpid(), problem=shipment.problem)


class Work:
    """One item in the hands of a worker."""

    def __init__(self, shipment: Shipment, key: Any) -> None:
        self._wrapper = shipment.wrapper
        self._common = shipment.common
        self._stores = not shipment.problem
        self._key = key
        self._computation: Computation | None = None
        self._is_kept = True

    @property
    def seconds(self) -> float:
        return 0.0 if self._computation is None else self._computation.seconds

    @property
    def ran(self) -> bool:
        return self._computation is None or self._computation.ran

    def report(self, args: tuple[Any, ...], is_patient: bool, sends: bool) -> Report:
        mode, wrapper, calls = MODE.get(), self._wrapper, self._wrapper._calls
        if mode is OFF or not self._stores:
            return Report(VALUE, wrapper._call(*args, **self._common), ran=True)
        computation = Computation(wrapper, self._key, args, self._common, replaces=mode is REFRESH)
        self._computation = computation
        if mode is REFRESH:
            value = computation.compute()
            kept = self._store(value)
            value = value if kept is MISS else kept
        else:
            value = run(
                calls.place,
                self._key,
                lambda: calls.results.fresh(self._key),
                computation.compute,
                self._store,
                calls.wait,
                stale=MISS if is_patient else _BUSY,
            )
        if value is _BUSY:
            return Report(BUSY)
        if self._is_kept and not sends:
            return Report(KEPT, None, self.seconds, self.ran)
        return Report(VALUE, value, self.seconds, self.ran)

    def _store(self, value: Any) -> Any:
        assert self._computation is not None
        kept = self._computation.store(value)
        self._is_kept = kept is not MISS
        return kept
