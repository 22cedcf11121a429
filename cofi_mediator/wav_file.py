"""Writing sound that a stage has made: 16-bit PCM WAV, block by block.

What belongs here: writing. What does not: reading and resampling (`audio.py`).
"""

import wave
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def write_wav(path: Path, blocks: Iterable[np.ndarray], *, channels: int, rate: int) -> float:
    """Writes float32 blocks shaped (channels, samples), clipped to -1..1; returns the seconds written."""
    samples = 0
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        for block in blocks:
            pcm = np.rint(np.clip(block, -1.0, 1.0) * 32767.0).astype("<i2")
            file.writeframesraw(np.ascontiguousarray(pcm.T).tobytes())
            samples += block.shape[1]
    return samples / rate
