"""Waiting in a program whose greenlets (gevent, eventlet) share a thread."""

from __future__ import annotations

import sys
from typing import Any


def may_share_thread() -> bool:
    """Whether greenlets may share this thread: then a wait does not stop the others."""
    return "gevent" in sys.modules or "eventlet" in sys.modules


def let_greenlets_run(seconds: float) -> bool:
    """Pause for the other greenlets of this thread; False if no hub would run them and return."""
    gevent: Any = sys.modules.get("gevent")
    find_hub = getattr(sys.modules.get("gevent._hub_local"), "get_hub_if_exists", None)
    hub = find_hub() if find_hub else None
    if hub is not None and gevent.getcurrent() is not hub:
        gevent.sleep(seconds)
        return True
    eventlet: Any = sys.modules.get("eventlet")
    hub = getattr(getattr(sys.modules.get("eventlet.hubs"), "_threadlocal", None), "hub", None)
    if hub is not None and eventlet.getcurrent() is not hub.greenlet:
        eventlet.sleep(seconds)
        return True
    return False
