"""Reading tensors from a checkpoint in torch's legacy file format, without torch and without running its code.

What belongs here: the file format. What does not: any model.
*Decision:* a checkpoint is a pickle, and a pickle can name any function. The reader knows three names (an ordered
dict, float storage, and the function that joins a storage with a shape) and refuses every other.
Layout: pickles of a magic number, a protocol version and system facts; the object, whose storages are persistent
ids; a list of storage keys; then each storage as a 64-bit element count and its raw little-endian floats.
"""

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np

from cofi_mediator.errors import ModelUnavailable

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: str
    offset: int
    shape: tuple[int, ...]


def _tensor(storage: str, offset: int, shape: Sequence[int], *_ignored: object) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape))


class _Storage:
    """Stands for torch.FloatStorage, which the pickle names and never calls."""


class _TensorUnpickler(pickle.Unpickler):
    allowed: ClassVar[dict[tuple[str, str], object]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch", "FloatStorage"): _Storage,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    }

    def find_class(self, module_name: str, global_name: str) -> object:
        found = self.allowed.get((module_name, global_name))
        if found is None:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} has no place in a checkpoint")
        return found

    def persistent_load(self, pid: tuple[object, ...]) -> str:
        return str(pid[2])


def read_state(path: Path, entry: str) -> dict[str, np.ndarray]:
    """The tensors of the dict `entry` of a checkpoint, by name, as contiguous float32 arrays of their own.

    Raises ModelUnavailable when the file is no such checkpoint.
    """
    try:
        with path.open("rb") as file:
            return _read(file, entry)
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelUnavailable(f"{path.name} cannot be read as a checkpoint: {error}") from error


def _read(file: BinaryIO, entry: str) -> dict[str, np.ndarray]:
    if _TensorUnpickler(file).load() != LEGACY_MAGIC:
        raise ValueError("wrong magic number")
    for _ in ("protocol version", "system facts"):
        _TensorUnpickler(file).load()
    tensors = _TensorUnpickler(file).load()[entry]
    keys = _TensorUnpickler(file).load()
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[str(key)] = np.frombuffer(file.read(4 * count), dtype="<f4", count=count)
    state = {}
    for name, tensor in tensors.items():
        size = int(np.prod(tensor.shape))
        values = storages[tensor.storage][tensor.offset : tensor.offset + size]
        state[name] = np.array(values, dtype=np.float32).reshape(tensor.shape)
    return state
