"""The reference mediator: a GPU-side HTTP server that stores recordings and runs stages on them, on any machine.

    __main__.py     the process: settings, log, uvicorn
    app.py          create_app(): routes of the protocol over the parts below
    boundary.py     request id, authentication, problem+json around every request
    uploads.py      receiving a body: digest, limits, decodability
    store.py        files on disk: atomic landing, leases, eviction; request_files.py: those of one request
    service.py      files, stages and tasks together, without HTTP
    stages.py       a stage at work: loading, capacity, queue, worker threads
    tasks.py        idempotency keys and remembered results
    audio.py        decoding; wav_file.py: writing
    engines/        what computes: Whisper, speakers, denoise, IVR, behind one small interface
    models.py       getting model weights, of packaged_models.py; llm_server.py: the llama.cpp server as a process

What belongs here: everything a GPU machine runs. What does not: the client (`cofi_resources/mediators`),
databases, Dagster. Of the other packages only `cofi_resources.mediators.protocol` is imported.
"""
