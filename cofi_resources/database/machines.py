"""How a GPU machine is named in the columns `ip` and `gpuIp`.

What belongs here: that one rule. What does not: talking to machines (`cofi_resources/mediators`).
"""

from urllib.parse import urlsplit


def address_of(machine: str | None) -> str | None:
    """`http://10.0.0.5:5065/` -> `10.0.0.5:5065`. What is no URL stays as it is."""
    if machine is None:
        return None
    return urlsplit(machine).netloc.rpartition("@")[2] or machine
