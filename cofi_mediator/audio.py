"""Recordings as samples: what a file is, and its sound as 16 kHz float32, window by window.

What belongs here: decoding through PyAV (FFmpeg's libraries in a wheel). What does not: writing (`wav_file.py`),
models.
*Decision:* nothing decodes a whole file at once. Sound comes in windows of about ten minutes, cut where it is
quietest, so that a recording of any length needs the memory of one window (77 MB in stereo), and no word is cut.
*Decision:* FFmpeg is held to audio containers and to local files: an uploaded playlist must not make this machine
open other files or addresses.
*Decision:* a file that declares clearly more sound than it holds is refused as truncated. Half a call answers an
audit's questions wrongly, without anyone noticing.
"""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import numpy as np

from cofi_mediator.errors import UnreadableAudio, UnsupportedMedia

RATE = 16_000
WINDOW_S = 600.0
CUT_SEARCH_S = 30.0
CONTAINERS = "wav,w64,rf64,aiff,au,mp3,flac,ogg,mov,mp4,m4a,matroska,webm,aac,amr,amrnb,amrwb,asf,caf"
TRUNCATED_BELOW = 0.9
TRUNCATED_LEAST_S = 1.0
PROBED_PACKETS = 50
SILENT_CHANNEL = 1e-4
SAME_CHANNEL = 0.98
SIGNATURES = (b"RIFF", b"OggS", b"fLaC", b"ID3", b"FORM", b".snd", b"#!AMR", b"\x1aE\xdf\xa3")
UNKNOWN_RIFF_LENGTH = 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What a file holds; `duration_s` is the sound that is really there, not what the header declares."""

    duration_s: float
    channels: int
    sample_rate: int
    codec: str


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of sound from `start_s` on: float32 samples at 16 kHz, shaped (channels, samples)."""

    start_s: float
    samples: np.ndarray

    @property
    def duration_s(self) -> float:
        return self.samples.shape[1] / RATE


def examine(path: Path) -> AudioFacts:
    """What the file holds. Reads it once without decoding more than its first packets.

    Raises UnsupportedMedia when it is no audio in a known container, UnreadableAudio when it is empty, truncated,
    or cannot be decoded.
    """
    if path.stat().st_size == 0:
        raise UnreadableAudio("the file is empty (0 bytes)")
    with _opened(path) as container:
        stream = container.streams.audio[0]
        declared_s = _seconds(stream.duration, stream.time_base) or _seconds(container.duration, Fraction(1, 1_000_000))
        present = Fraction(0)
        decoded = 0
        for number, packet in enumerate(container.demux(stream)):
            present += (packet.duration or 0) * (packet.time_base or Fraction(0))
            if not decoded and number < PROBED_PACKETS:
                decoded = sum(frame.samples for frame in _decoded(packet))
        codec = stream.codec_context
        channels, sample_rate, name = codec.channels, codec.sample_rate, codec.name
    duration_s = float(present)
    if not decoded:
        raise UnreadableAudio("the file holds no sound" if duration_s == 0 else "no frame of the file can be decoded")
    if duration_s == 0:
        duration_s = sum(window.duration_s for window in windows(path))
    declared_s = max(declared_s, duration_s * _riff_ratio(path))
    tolerance_s = max(TRUNCATED_LEAST_S, (1 - TRUNCATED_BELOW) * declared_s)
    if declared_s - duration_s > tolerance_s:
        raise UnreadableAudio(f"the file is truncated: it declares {declared_s:.1f} s and holds {duration_s:.1f} s")
    if abs(declared_s - duration_s) <= tolerance_s and declared_s > 0:
        duration_s = declared_s  # packets of some codecs carry no duration of their own
    return AudioFacts(duration_s, channels, sample_rate, name)


def windows(
    path: Path, *, stereo: bool = False, rate: int = RATE, length_s: float = WINDOW_S, limit_s: float | None = None
) -> Iterator[Window]:
    """The file's sound in order, in windows of at most `length_s`, up to `limit_s` of it.

    Mixed down to one channel, or as two with `stereo`. Damaged frames are left out. Raises as `examine` does.
    """
    resampler = av.AudioResampler(format="fltp", layout="stereo" if stereo else "mono", rate=rate)
    full = int(length_s * rate)
    left = int(limit_s * rate) if limit_s is not None else None
    start = 0
    held: list[np.ndarray] = []
    count = 0
    with _opened(path) as container:
        for block in _resampled(container, resampler):
            if left is not None:
                block = block[:, :left]
                left -= block.shape[1]
            held.append(block)
            count += block.shape[1]
            while count >= full:
                samples = np.concatenate(held, axis=1)
                cut = quietest_cut(samples[:, :full], int(min(CUT_SEARCH_S, length_s / 2) * rate), rate)
                yield Window(start / rate, samples[:, :cut])
                start += cut
                held, count = [samples[:, cut:]], count - cut
            if left == 0:
                break
    if count:
        yield Window(start / rate, np.concatenate(held, axis=1))


def resampled(blocks: Iterable[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Blocks of one signal, shaped (channels, samples), at another rate."""
    resampler = av.AudioResampler(format="fltp", rate=to_rate)
    for block in blocks:
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(block, dtype=np.float32), format="fltp", layout="stereo" if len(block) == 2 else "mono"
        )
        frame.sample_rate = from_rate
        for done in resampler.resample(frame):
            yield done.to_ndarray()
    for done in resampler.resample(None):
        yield done.to_ndarray()


def quietest_cut(samples: np.ndarray, search: int, rate: int = RATE) -> int:
    """Where to end a window: amid the quietest 0.3 s among the last `search` samples of (channels, samples)."""
    span = int(0.3 * rate)
    if search <= span:
        return samples.shape[1]
    tail = samples[:, -search:]
    power = np.cumsum(np.square(tail, dtype=np.float64).sum(axis=0))
    quietest = int(np.argmin(power[span:] - power[:-span]))
    return samples.shape[1] - search + quietest + span // 2


def has_distinct_channels(path: Path, facts: AudioFacts) -> bool:
    """Whether a file has two channels that say different things: each a party of the call.

    Two channels with the same sound, loud or faint, or one that is silent, are a mono call in a stereo file.
    """
    if facts.channels != 2:
        return False
    energies = np.zeros(3)
    for window in windows(path, stereo=True):
        first, second = window.samples
        energies += [float(first @ first), float(second @ second), float(first @ second)]
    weaker, stronger = sorted(energies[:2])
    return bool(weaker > SILENT_CHANNEL * stronger and abs(energies[2]) < SAME_CHANNEL * np.sqrt(weaker * stronger))


@contextmanager
def _opened(path: Path) -> Iterator["av.container.InputContainer"]:
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    try:
        container = av.open(str(path), mode="r", options=options, metadata_errors="ignore")
    except FileNotFoundError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if _signature(path).startswith(SIGNATURES) or _signature(path)[4:8] == b"ftyp":
            raise UnreadableAudio(
                f"the file begins as audio and cannot be opened, as when it is cut: {reason}"
            ) from error
        raise UnsupportedMedia(f"no known audio container: {reason}") from error
    with container:
        if not container.streams.audio:
            raise UnsupportedMedia("the file holds no audio stream")
        yield container


def _decoded(packet: av.Packet) -> Iterator[av.AudioFrame]:
    """Frames of one packet; none where it is damaged."""
    try:
        yield from (frame for frame in packet.decode() if isinstance(frame, av.AudioFrame))
    except (av.error.FFmpegError, ValueError):
        return


def _resampled(container: "av.container.InputContainer", resampler: av.AudioResampler) -> Iterator[np.ndarray]:
    frames = itertools.chain.from_iterable(_decoded(packet) for packet in container.demux(audio=0))
    try:
        for frame in itertools.chain(frames, [None]):
            if frame is not None:
                frame.pts = None  # times in damaged or joined files jump; samples are counted instead
            for resampled in resampler.resample(frame):
                yield resampled.to_ndarray()
    except (av.error.FFmpegError, ValueError) as error:
        raise UnreadableAudio(f"the sound changes its form within the file: {error}") from error


def _signature(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)


def _riff_ratio(path: Path) -> float:
    """How many times longer than it is a WAV file says it is; 1.0 for others, and for lengths that mean "unknown"."""
    head = _signature(path)
    length = int.from_bytes(head[4:8], "little")
    if not head.startswith(b"RIFF") or not 0 < length < UNKNOWN_RIFF_LENGTH:
        return 1.0
    return max(1.0, (length + 8) / path.stat().st_size)


def _seconds(duration: int | None, time_base: Fraction | None) -> float:
    return float(duration * time_base) if duration and time_base and duration > 0 else 0.0
