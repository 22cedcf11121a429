"""`distribution`: the recording is on a GPU machine, and the call has its row.

Belongs here: putting the file on a machine that has room. The choice of the machine is the pool's (architecture 3.7).
"""

from cofi_assets.stages.stage import CallInHand, Done, Stage, StageTools
from cofi_resources.records import StageBookkeeping


async def distribute(hand: CallInHand, tools: StageTools) -> Done:
    placed = await tools.pool.place(hand.audio, prefer=hand.machine)
    return Done(
        result=placed,
        machine=placed.machine,
        metadata={"bytes": placed.size_bytes, "duration_s": round(placed.duration_s, 2), "sha256": placed.sha256},
    )


STAGE = Stage(
    bookkeeping=StageBookkeeping("distribution", "distribution", None, "dbInsertionStatus", "dbInsertDone"),
    run=distribute,
    description="The recording is stored on a GPU machine and the call has its rows in `fileDistribution` and `call`.",
)
