"""Telling voices on one channel apart: embeddings of a trained encoder, clustered.

What belongs here: the encoder in numpy, clustering, giving words to speakers. What does not: recognising words.
The encoder is the speaker-verification network whose weights Resemblyzer 0.1.4 ships: 40 mel bands, three LSTM
layers of 256, a linear layer, trained on stretches of 1.6 s.
*Decision:* numpy, since the network is small (a call takes about 1 % of its duration) and torch is a gigabyte.
*Decision:* two groups whose centres are alike by 0.83 or more are one voice: measured 0.65 to 0.72 between two
speakers on the telephone, clean and at 10 dB, and 0.89 to 0.95 within one.
*Decision:* voices are compared in overlapping stretches of the whole call and words are then given to the nearer
voice, so that a turn without a pause is still found.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cofi_mediator.audio import RATE, Window
from cofi_mediator.engines.utterances import UTTERANCE_GAP_S, Utterance, Word, split_at_gaps, split_at_sentences
from cofi_mediator.errors import ModelUnavailable
from cofi_mediator.models import find_model
from cofi_mediator.torch_file import read_state

MODEL = "speaker-embedding"
HOP = 160
FFT = 400
BANDS = 40
STRETCH_FRAMES = 160
STEP_FRAMES = 60
LAYERS = 3
BATCH = 256
TARGET_DBFS = -30.0
SAME_VOICE = 0.83
TURN_GAP_S = 0.25


@dataclass(slots=True)
class VoicePrints:
    """Embeddings (unit length, one a row) of stretches of speech, with the times they were taken from."""

    start_s: list[float] = field(default_factory=list)
    end_s: list[float] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def extend(self, other: "VoicePrints") -> None:
        self.start_s += other.start_s
        self.end_s += other.end_s
        self.rows += other.rows


class SpeakerEmbedding:
    """The encoder; safe to use from several threads once loaded."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self._weights: dict[str, np.ndarray] | None = None
        self._lock = threading.Lock()

    @property
    def is_loaded(self) -> bool:
        return self._weights is not None

    def load(self) -> None:
        """Reads the weights. Idempotent. Raises ModelUnavailable when they are not there."""
        with self._lock:
            if self._weights is not None:
                return
            path = find_model(MODEL, self._models)
            if path is None:
                raise ModelUnavailable(
                    f"{MODEL} is not in {self._models}: run `python -m cofi_mediator.models fetch {MODEL}`"
                )
            state = read_state(path, "model_state")
            self._weights = {
                name: np.ascontiguousarray(tensor.T) if tensor.ndim == 2 else tensor for name, tensor in state.items()
            }

    def unload(self) -> None:
        self._weights = None

    def prints(self, window: Window, spans: Sequence[tuple[int, int]]) -> VoicePrints:
        """Voice prints of the window's spans of speech, each span in overlapping stretches of 1.6 s."""
        prints = VoicePrints()
        stretches: list[np.ndarray] = []
        for first, end in spans:
            mel = mel_spectrogram(louder(window.samples[0, first:end]))
            for frame in stretch_starts(len(mel)):
                piece = mel[frame : frame + STRETCH_FRAMES]
                offset_s = window.start_s + (first + frame * HOP) / RATE
                prints.start_s.append(offset_s)
                prints.end_s.append(offset_s + len(piece) * HOP / RATE)
                stretches.append(np.resize(piece, (STRETCH_FRAMES, BANDS)))  # a short span is repeated
        for first in range(0, len(stretches), BATCH):
            prints.rows += list(self.embed(np.stack(stretches[first : first + BATCH])))
        return prints

    def embed(self, mels: np.ndarray) -> np.ndarray:
        """Unit-length embeddings, one a row, of mel stretches shaped (stretches, frames, bands)."""
        weights = self._weights
        if weights is None:
            raise ModelUnavailable(f"{MODEL} is not loaded")
        sequence = mels.astype(np.float32)
        for layer in range(LAYERS):
            sequence = _lstm(sequence, weights, layer)
        raw = np.maximum(sequence[:, -1] @ weights["linear.weight"] + weights["linear.bias"], 0.0)
        return raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-9)


def _lstm(sequence: np.ndarray, weights: dict[str, np.ndarray], layer: int) -> np.ndarray:
    """One LSTM layer over (stretches, frames, inputs); gates are stored in the order input, forget, cell, output."""
    recurrent = weights[f"lstm.weight_hh_l{layer}"]
    bias = weights[f"lstm.bias_ih_l{layer}"] + weights[f"lstm.bias_hh_l{layer}"]
    driven = sequence @ weights[f"lstm.weight_ih_l{layer}"] + bias
    size = recurrent.shape[0]
    hidden = cell = np.zeros((len(sequence), size), dtype=np.float32)
    outputs = np.empty((*sequence.shape[:2], size), dtype=np.float32)
    for frame in range(sequence.shape[1]):
        gates = driven[:, frame] + hidden @ recurrent
        admit, forget, output = (_sigmoid(gates[:, k * size : (k + 1) * size]) for k in (0, 1, 3))
        cell = forget * cell + admit * np.tanh(gates[:, 2 * size : 3 * size])
        hidden = output * np.tanh(cell)
        outputs[:, frame] = hidden
    return outputs


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 * (np.tanh(0.5 * values) + 1.0)


def louder(samples: np.ndarray) -> np.ndarray:
    """Samples raised to -30 dBFS where they are fainter, as the encoder was trained."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    if power == 0.0:
        return samples
    gain_db = TARGET_DBFS - 10 * np.log10(power)
    return samples * np.float32(10 ** (gain_db / 20)) if gain_db > 0 else samples


def mel_spectrogram(samples: np.ndarray) -> np.ndarray:
    """Power in 40 mel bands, one row each 10 ms, of 16 kHz samples."""
    padded = np.pad(samples.astype(np.float32), FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP]
    window = np.hanning(FFT + 1)[:-1].astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames * window, axis=1))).astype(np.float32)
    return power @ MEL_FILTERS


def stretch_starts(frames: int) -> range:
    """First frames of the stretches that cover a span: overlapping, the last one at least half full."""
    return range(0, max(1, frames - STRETCH_FRAMES // 2), STEP_FRAMES)


def _mel_filters() -> np.ndarray:
    """Triangular filters of equal area, (bins, bands), on the mel scale that is linear below 1 kHz."""

    def to_hz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))

    top = 15.0 + 27.0 * np.log(RATE / 2 / 1000.0) / np.log(6.4)
    edges = to_hz(np.linspace(0.0, top, BANDS + 2))
    bins = np.fft.rfftfreq(FFT, 1.0 / RATE)[:, None]
    rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins) / np.diff(edges)[1:]
    return (np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (edges[2:] - edges[:-2])).astype(np.float32)


MEL_FILTERS = _mel_filters()


def cluster(rows: np.ndarray, most: int, same_voice: float = SAME_VOICE) -> np.ndarray:
    """Centres of at most `most` voices among unit rows: k-means by angle, deterministic.

    Starts from the two most unlike rows; centres that are as alike as one voice is with itself become one.
    """
    centres = _spread(rows, most)
    for _ in range(50):
        labels = np.argmax(rows @ centres.T, axis=1)
        kept = [rows[labels == label].mean(axis=0) for label in range(len(centres)) if np.any(labels == label)]
        moved = np.stack(kept)
        moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)
        if moved.shape == centres.shape and np.allclose(moved, centres, atol=1e-5):
            break
        centres = moved
    while len(centres) > 1:
        alike = centres @ centres.T - 2.0 * np.eye(len(centres))
        if alike.max() < same_voice:
            break
        first, second = divmod(int(np.argmax(alike)), len(centres))
        joined = centres[first] + centres[second]
        centres = np.vstack([np.delete(centres, (first, second), axis=0), joined / np.linalg.norm(joined)])
    return centres


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """Rows to start from: the one farthest from the middle, then each time the one least like those chosen."""
    middle = rows.mean(axis=0)
    chosen = [int(np.argmin(rows @ middle))]
    while len(chosen) < min(most, len(rows)):
        chosen.append(int(np.argmin((rows @ rows[chosen].T).max(axis=1))))
    return rows[chosen]


def assign_speakers(words: Sequence[Word], prints: VoicePrints, most: int) -> list[tuple[int, Utterance]]:
    """Utterances with the number of their voice. A turn ends at a pause or at the end of a sentence."""
    rows = np.stack(prints.rows)
    centres = cluster(rows, most)
    likeness = rows @ centres.T
    starts, ends = np.array(prints.start_s), np.array(prints.end_s)
    turns = [
        (_voice(turn, starts, ends, likeness), turn)
        for stretch in split_at_gaps(words, TURN_GAP_S)
        for turn in split_at_sentences(stretch, least_s=0.0)
    ]
    return _joined(turns)


def _voice(turn: Utterance, starts: np.ndarray, ends: np.ndarray, likeness: np.ndarray) -> int:
    """The voice most like the stretches a turn lies in, each weighed by how much of it the turn fills."""
    overlap = np.minimum(ends, turn[-1].end_s) - np.maximum(starts, turn[0].start_s)
    weight = np.maximum(overlap, 0.0)
    if not weight.any():
        nearest = np.argmin(np.abs((starts + ends) / 2 - (turn[0].start_s + turn[-1].end_s) / 2))
        return int(np.argmax(likeness[nearest]))
    return int(np.argmax(weight @ likeness))


def _joined(turns: Sequence[tuple[int, Utterance]]) -> list[tuple[int, Utterance]]:
    """Neighbouring turns of one voice as one utterance, unless a pause parts them."""
    joined: list[tuple[int, Utterance]] = []
    for label, turn in turns:
        if joined and joined[-1][0] == label and turn[0].start_s - joined[-1][1][-1].end_s <= UTTERANCE_GAP_S:
            joined[-1] = (label, joined[-1][1] + turn)
        else:
            joined.append((label, turn))
    return joined
