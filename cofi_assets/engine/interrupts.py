"""Ending a run in good order when its process is asked to end.

What belongs here: turning SIGINT and SIGTERM into the cancellation of one task. What does not: what it then does.
Decision: Dagster's own handlers raise out of whatever line is being executed. Inside an event loop that cancels every
task at once, the writer's too, so that finished results were lost (seen); or it is swallowed by a callback and the
run goes on. While the loop runs, the signals cancel the main task alone, and the writer still stores what was finished.
"""

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The process was asked to end. Not an Exception: nothing on the way may take it for a failure of a call."""


def run_until_interrupted(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` in an event loop of its own. Raises Interrupted after a signal, once `work` has wound up."""
    if threading.current_thread() is not threading.main_thread():
        # Python delivers signals to the main thread alone.
        asyncio.run(work)
        return
    earlier = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    try:
        asyncio.run(_cancelled_by_signals(work))
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


async def _cancelled_by_signals(work: Coroutine[Any, Any, None]) -> None:
    loop, asked = asyncio.get_running_loop(), threading.Event()
    task = asyncio.ensure_future(work)

    def end() -> None:
        # Once is enough: a second cancellation would end the winding up that the first one began.
        if not asked.is_set():
            asked.set()
            task.cancel()

    for number in ENDING_SIGNALS:
        loop.add_signal_handler(number, end)
    try:
        await task
    except asyncio.CancelledError:
        if asked.is_set():
            raise Interrupted from None
        raise
    finally:
        for number in ENDING_SIGNALS:
            loop.remove_signal_handler(number)
