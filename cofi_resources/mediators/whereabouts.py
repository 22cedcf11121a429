"""Which files are thought to be on which machines.

What belongs here: a bounded memory of it. What does not: asking machines.
*Decision:* a guess is enough. A file's id is derived from its content, so a wrong guess costs one 404 or one HEAD and
never a wrong answer; nothing of this is stored.
"""

from dataclasses import dataclass, field

REMEMBERED_FILES = 50_000


@dataclass(slots=True)
class Whereabouts:
    """Files by id, with the machines they were last known to be on. Forgets the oldest files beyond `limit`."""

    limit: int = REMEMBERED_FILES
    machines_of: dict[str, frozenset[str]] = field(default_factory=dict)

    def of(self, file_id: str) -> frozenset[str]:
        return self.machines_of.get(file_id, frozenset())

    def is_on(self, file_id: str, machine: str) -> bool:
        return machine in self.of(file_id)

    def found(self, file_id: str, machine: str) -> None:
        self.machines_of[file_id] = self.of(file_id) | {machine}
        if len(self.machines_of) > self.limit:
            del self.machines_of[next(iter(self.machines_of))]

    def gone(self, file_id: str, machine: str) -> None:
        self.machines_of[file_id] = self.of(file_id) - {machine}
