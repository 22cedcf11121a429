"""How patient the pool is: timeouts, retries, breakers.

What belongs here: numbers with their meaning. What does not: what is done with them (`dispatch.py`, `retry.py`,
`pool.py`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """All durations are seconds. Every number is for one pool, which is to say for one run.

    A request's timeout is `request_s` plus `request_per_audio_s` for each second of audio, so that a call of hours is
    given hours' worth; audio of unknown length counts as `unknown_audio_s`. `outage_budget_s` is how long a request
    waits while nothing of its stage moves anywhere before it fails. Retries are bounded to `retry_share` of all
    requests, beyond `retry_burst`, so that a dying fleet is not hammered.
    """

    connect_s: float = 5.0
    request_s: float = 180.0
    request_per_audio_s: float = 2.0
    unknown_audio_s: float = 3 * 3600.0
    request_without_audio_s: float = 900.0
    """For llm1 and llm2: a whole form on a small model without a GPU takes minutes."""
    upload_bytes_per_s: float = 1 << 20
    """The slowest line an upload is waited for."""
    status_s: float = 5.0
    status_every_s: float = 10.0
    probe_every_s: float = 1.0
    """How often a machine that is away or loading is asked how it is."""
    attempts: int = 6
    bad_answers: int = 2
    put_offs: int = 20
    """How often a request may be refused without having been worked on, beyond `outage_budget_s`."""
    sends_per_attempt: int = 3
    """How often a file that a machine keeps forgetting is sent to it within one attempt."""
    backoff_s: float = 0.5
    longest_backoff_s: float = 20.0
    retry_after_s: float = 1.0
    """The pause where a machine asks for one and names no time."""
    longest_retry_after_s: float = 60.0
    disk_full_pause_s: float = 30.0
    outage_budget_s: float = 600.0
    breaker_failures: int = 3
    breaker_open_s: float = 2.0
    breaker_longest_open_s: float = 30.0
    retry_share: float = 0.25
    retry_burst: int = 20
    uploads_per_machine: int = 4
    connections_per_machine: int = 64
    window_slack: float = 1.5
    """Open calls for each slot: some wait in a queue, are being stored, or sit in a stage of no machine."""
