"""Files of the mediator protocol: what is stored, what is refused, and that nothing half-written stays."""

import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from mediator_fakes import FakeLid, Mediator, digest, encoded, running_mediator, tone, until, wav

from cofi_resources.mediators.protocol import Problem, StoredFile


def problem(response: httpx.Response, status: int, code: str) -> Problem:
    """The answer is a problem document of this status and code, with a request id."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    found = Problem.model_validate_json(response.content)
    assert (found.status, found.code) == (status, code)
    assert found.detail
    return found


def stored_names(mediator: Mediator) -> list[str]:
    return sorted(path.name for folder in ("audio", "meta", "partial") for path in (mediator.home / folder).iterdir())


def test_a_file_is_stored_once_and_known_by_its_digest(mediator: Mediator) -> None:
    content = wav(1.5)
    first = mediator.put("call-1", content, **{"X-File-Name": "order%20one.wav"})
    again = mediator.put("call-1", content)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert StoredFile.model_validate(first.json()).duration_s == 1.5
    head = mediator.client.head("/v1/files/call-1")
    assert head.status_code == 200
    assert head.headers["content-length"] == str(len(content))
    assert head.headers["content-digest"] == digest(content)


def test_other_bytes_under_the_same_id_are_refused(mediator: Mediator) -> None:
    mediator.put("call-1", wav(1.0))
    problem(mediator.put("call-1", wav(2.0)), 409, "digest_mismatch")
    assert mediator.client.head("/v1/files/call-1").headers["content-digest"] == digest(wav(1.0))


def test_delete_removes_a_file_and_may_be_repeated(mediator: Mediator) -> None:
    mediator.put("call-1", wav())
    assert mediator.client.delete("/v1/files/call-1").status_code == 204
    assert mediator.client.delete("/v1/files/call-1").status_code == 204
    assert mediator.client.head("/v1/files/call-1").status_code == 404
    problem(mediator.run("lid", {"file_id": "call-1"}), 404, "unknown_file")
    assert stored_names(mediator) == []


def test_a_body_that_does_not_match_its_digest_leaves_nothing(mediator: Mediator) -> None:
    answer = mediator.put("call-1", wav(1.0), **{"Content-Digest": digest(wav(2.0))})
    problem(answer, 422, "digest_mismatch")
    assert stored_names(mediator) == []


@pytest.mark.parametrize("header", [None, "md5=:AAAA:", "sha-256=:AAAA:", "sha-256=:not base64:"])
def test_an_upload_needs_a_digest(mediator: Mediator, header: str | None) -> None:
    headers = {} if header is None else {"Content-Digest": header}
    problem(mediator.client.put("/v1/files/call-1", content=wav(), headers=headers), 400, "invalid_request")


@pytest.mark.parametrize("file_id", ["a b", "%2e%2e%2fetc", "x" * 121, "naïve"])
def test_an_id_that_breaks_the_pattern_is_refused(mediator: Mediator, file_id: str) -> None:
    response = mediator.put(file_id, wav())
    assert response.status_code in (404, 422)
    assert stored_names(mediator) == []


@pytest.mark.parametrize("file_id", ["%2e%2e", "%2e", "a.json", "x" * 120])
def test_an_id_that_looks_like_a_path_is_only_a_name(mediator: Mediator, file_id: str) -> None:
    # Sent as it is: a client library would resolve the dots itself.
    request = mediator.client.build_request(
        "PUT", "/v1/files/a", content=wav(), headers={"Content-Digest": digest(wav())}
    )
    request.url = request.url.copy_with(raw_path=f"/v1/files/{file_id}".encode())
    assert mediator.client.send(request).status_code == 201
    assert {path.parent.name for path in mediator.home.rglob("*") if path.is_file()} == {"audio", "meta"}


REFUSED = {
    "empty": (b"", 422, "unreadable_audio"),
    "header alone": (wav(0.0), 422, "unreadable_audio"),
    "text": (b"Dear Sir, please buy 100 shares.\n" * 50, 415, "unsupported_media"),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", 415, "unsupported_media"),
    "file list": (b"ffconcat version 1.0\nfile /etc/hostname\n", 415, "unsupported_media"),
    "truncated wav": (wav(10.0)[:60_000], 422, "unreadable_audio"),
    "truncated mp3": (encoded(tone(10.0, 44_100)[None], 44_100, "mp3", "mp3")[:30_000], 422, "unreadable_audio"),
    "truncated m4a": (encoded(tone(10.0, 44_100)[None], 44_100, "ipod", "aac")[:30_000], 422, "unreadable_audio"),
    "truncated flac": (encoded(tone(10.0)[None], 8_000, "flac", "flac")[:15_000], 422, "unreadable_audio"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_whole_recording_is_refused_and_leaves_nothing(mediator: Mediator, what: str) -> None:
    content, status, code = REFUSED[what]
    problem(mediator.put("call-1", content), status, code)
    assert stored_names(mediator) == []


CONTAINERS = [("wav", "pcm_s16le"), ("wav", "pcm_alaw"), ("wav", "pcm_mulaw"), ("mp3", "mp3"), ("flac", "flac")]
CONTAINERS += [("ogg", "libopus"), ("ipod", "aac")]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 48_000])
@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_every_format_is_taken_with_its_duration(
    mediator: Mediator, container: str, codec: str, rate: int, channels: int
) -> None:
    content = encoded(np.tile(tone(2.0, rate), (channels, 1)), rate, container, codec)
    answer = mediator.put("call-1", content)
    assert answer.status_code == 201, answer.text
    assert answer.json()["duration_s"] == pytest.approx(2.0, abs=0.2)


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    with running_mediator(tmp_path, {"lid": FakeLid()}, mediator_max_file_bytes=10_000) as mediator:
        problem(mediator.put("call-1", wav(1.0)), 413, "too_large")
        chunks = iter([wav(1.0)[:8_000], wav(1.0)[8_000:]])
        headers = {"Content-Digest": digest(wav(1.0))}
        answer = mediator.client.put("/v1/files/call-1", content=chunks, headers=headers)
        problem(answer, 413, "too_large")
        assert stored_names(mediator) == []


def upload_head(content: bytes) -> bytes:
    lines = ("PUT /v1/files/call-1 HTTP/1.1", "Host: x", f"Content-Length: {len(content)}")
    return "\r\n".join((*lines, f"Content-Digest: {digest(content)}", "", "")).encode()


def test_an_upload_that_breaks_off_leaves_nothing(mediator: Mediator) -> None:
    content = wav(5.0)
    address = urlsplit(mediator.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(upload_head(content) + content[: len(content) // 2])
        until(lambda: len(list((mediator.home / "partial").iterdir())) == 1)
    until(lambda: stored_names(mediator) == [])
    assert mediator.put("call-1", content).status_code == 201


def test_an_upload_that_stands_still_is_given_up(tmp_path: Path) -> None:
    content = wav(5.0)
    with running_mediator(tmp_path, {"lid": FakeLid()}, mediator_upload_timeout_s=0.2) as mediator:
        address = urlsplit(mediator.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(upload_head(content) + content[:1000])
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
        assert stored_names(mediator) == []


def test_files_outlive_the_process_and_leftovers_do_not(tmp_path: Path) -> None:
    with running_mediator(tmp_path, {"lid": FakeLid()}) as mediator:
        mediator.put("call-1", wav(1.0))
        mediator.put("call-2", wav(2.0))
    (tmp_path / "partial" / "leftover").write_bytes(b"half a file")
    (tmp_path / "audio" / "call-2.bin").write_bytes(b"damaged")
    (tmp_path / "audio" / "unknown.bin").write_bytes(b"no metadata")
    with running_mediator(tmp_path, {"lid": FakeLid()}) as mediator:
        assert mediator.client.head("/v1/files/call-1").headers["content-digest"] == digest(wav(1.0))
        assert mediator.client.head("/v1/files/call-2").status_code == 404
        assert stored_names(mediator) == ["call-1.bin", "call-1.json"]
        assert mediator.run("lid", {"file_id": "call-1"}).status_code == 200


def test_the_least_recently_used_file_makes_room(tmp_path: Path) -> None:
    size = len(wav(1.0))
    limits: dict[str, Any] = {"mediator_store_bytes": 2 * size, "mediator_max_file_bytes": 2 * size}
    with running_mediator(tmp_path, {"lid": FakeLid()}, **limits) as mediator:
        mediator.put("old", wav(1.0, hertz=300))
        mediator.put("older-but-used", wav(1.0, hertz=400))
        mediator.run("lid", {"file_id": "old"})
        assert mediator.put("new", wav(1.0, hertz=500)).status_code == 201
        found = {
            name: mediator.client.head(f"/v1/files/{name}").status_code for name in ("old", "older-but-used", "new")
        }
        assert found == {"old": 200, "older-but-used": 404, "new": 200}


def test_a_file_in_use_is_never_removed_to_make_room(tmp_path: Path) -> None:
    engine = FakeLid()
    size = len(wav(1.0))
    limits: dict[str, Any] = {"mediator_store_bytes": size + 10, "mediator_max_file_bytes": size}
    with running_mediator(tmp_path, {"lid": engine}, **limits) as mediator:
        mediator.put("used", wav(1.0))
        engine.may_run.clear()
        started = mediator.run("lid", {"file_id": "used"}, Prefer="respond-async")
        assert engine.begun.acquire(timeout=10)
        problem(mediator.put("new", wav(1.0, hertz=500)), 507, "disk_full")
        engine.may_run.set()
        assert mediator.client.get(started.headers["location"], params={"wait": 10}).json()["state"] == "succeeded"
        assert mediator.put("new", wav(1.0, hertz=500)).status_code == 201
