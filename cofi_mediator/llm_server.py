"""The llama.cpp server as a process: an OpenAI-compatible API with json_schema answers, from a GGUF file.

    python -m cofi_mediator.llm_server --model FILE --port 5066 --context 8192 --threads 2 --parallel 1

It serves `/health` and `/v1/chat/completions`; SIGTERM and Ctrl-C end it at once. The context is each
request's own.
What belongs here: starting the server. What does not: prompts, requests (`cofi_resources/llm`).
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DEFAULT_PORT = 5066


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cofi_mediator.llm_server", description="Serve a GGUF model over an OpenAI-compatible API."
    )
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port to listen on")
    parser.add_argument("--context", type=int, default=8192, help="tokens of context for each request")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads")
    parser.add_argument("--parallel", type=int, default=1, help="requests worked on at once")
    parser.add_argument("--gpu-layers", type=int, default=-1, help="layers kept on a GPU; -1: as many as fit")
    chosen = parser.parse_args(arguments)
    if not chosen.model.is_file():
        sys.stderr.write(f"--model: there is no file {chosen.model}\n")
        raise SystemExit(2)
    # The engine's own threads do not stop for Python's: the process ends without waiting for them.
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    try:
        server = serve(chosen)
    except (ImportError, RuntimeError) as error:
        sys.stderr.write(f"the LLM server cannot start: {error}\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"ready {server.listening_address}\n")
    sys.stdout.flush()
    stop.wait()


def serve(chosen: argparse.Namespace) -> Any:
    """The server, working in threads of its own, once the model is loaded; it ends when it is collected."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()  # pyright: ignore[reportAttributeAccessIssue]
    parameters.model.path = str(chosen.model)
    parameters.model_alias = {chosen.model.stem}
    parameters.hostnames = [chosen.host]
    parameters.port = chosen.port
    parameters.n_ctx = chosen.context * chosen.parallel
    parameters.n_parallel = chosen.parallel
    parameters.n_gpu_layers = chosen.gpu_layers
    parameters.cpuparams.n_threads = chosen.threads
    parameters.cpuparams_batch.n_threads = chosen.threads
    return xllamacpp.Server(parameters)  # pyright: ignore[reportAttributeAccessIssue]


if __name__ == "__main__":
    main()
