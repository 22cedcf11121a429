"""The mediator's process: `cofi-mediator`, or `python -m cofi_mediator`.

What belongs here: settings, logging, the server's start and end. What does not: the server itself (`app.py`).
*Decision:* the process ends a few seconds after SIGTERM even while an engine works. A worker thread cannot be
interrupted; whoever asked sends the request again, here or elsewhere, and partial files are removed at the next start.
"""

import logging
import os
import sys

import uvicorn

from cofi_mediator.app import create_app
from cofi_mediator.engines.catalogue import built_in_engines, further_engines
from cofi_mediator.errors import WrongSettings
from cofi_mediator.settings import MediatorSettings

STOP_WITHIN_S = 3
WRONG_SETTINGS = 2

log = logging.getLogger("cofi_mediator")


def main() -> None:
    """Serves until SIGTERM or Ctrl-C. Exit status 2: a setting is wrong; 1: the server could not start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)
    try:
        settings = MediatorSettings.load()
        app = create_app(settings, built_in_engines(settings), further_engines(settings))
    except WrongSettings as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(WRONG_SETTINGS) from None
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.mediator_host,
            port=settings.mediator_port,
            access_log=False,
            log_config=None,
            ws="none",
            timeout_graceful_shutdown=STOP_WITHIN_S,
        )
    )
    try:
        server.run()
    except KeyboardInterrupt:
        log.info("stopped")
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: the interpreter would wait for worker threads, an engine's among them.
    os._exit(0 if server.started else 1)


if __name__ == "__main__":
    main()
