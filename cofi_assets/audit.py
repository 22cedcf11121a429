"""The stages of a call as one subsettable multi-asset.

What belongs here: the asset definitions, made from the table of stages, and the op that hands a run to the engine.
What does not: any stage by name, what the engine does with them.
Decision: one op for all stages (architecture 3.2). With an op a stage, a chain in one run marks every later stage
failed at the first bad file, and a run a stage costs a process start and a barrier each. A finished (call, stage) is
reported as a materialization of its partition while the run goes on; if any call failed, the op fails at its end and
names them.
"""

from collections.abc import Callable, Sequence

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.storage.tags import ROOT_RUN_ID_TAG

from cofi_assets.engine.interrupts import Interrupted
from cofi_assets.engine.ledger import RunLedger
from cofi_assets.engine.reporting import PartitionReporter
from cofi_assets.engine.run import CallRun, RunOrder, RunSummary
from cofi_assets.engine.tools import open_tools
from cofi_assets.partitions import CALLS
from cofi_assets.stages.stage import Stage
from cofi_resources.database.engine import Database
from cofi_resources.database.logs import LogOptions
from cofi_resources.errors import ConfigError, InvalidInput, TransientError
from cofi_resources.llm.resource import LlmResource
from cofi_resources.mediators.resource import MediatorPoolResource
from cofi_resources.records import StageState
from cofi_resources.settings import Settings
from cofi_resources.volume import Volume

BATCH_TAG = "cofi/batch"
"""On the runs of a batch's first pass: the batch's id. Any other run over the same calls is a re-audit."""

GROUP = "audit"
RETRIES = 5
RETRY_WAIT_S = 30
"""How often, and after how many seconds, a run whose database was away takes up its work again."""


def asset_specs(stages: Sequence[Stage]) -> list[dg.AssetSpec]:
    """One asset a stage, skippable, since any subset can be selected."""
    names = {stage.name for stage in stages}
    return [
        dg.AssetSpec(
            stage.name,
            deps=[name for name in stage.after if name in names],
            description=stage.description,
            group_name=GROUP,
            skippable=True,
            partitions_def=CALLS,
            kinds={"audio"} if stage.name == "distribution" else {"mysql"},
        )
        for stage in stages
    ]


def order_of(context: dg.AssetExecutionContext, stages: Sequence[Stage]) -> RunOrder:
    """What a Dagster run asks for: its keys, its selected stages, and the root it re-executes."""
    run = context.run
    batch_tag = run.tags.get(BATCH_TAG)
    return RunOrder(
        keys=tuple(context.partition_keys),
        selected=tuple(stage for stage in stages if dg.AssetKey(stage.name) in context.selected_asset_keys),
        pipeline=tuple(stages),
        run_id=run.run_id,
        root_run_id=run.tags.get(ROOT_RUN_ID_TAG, run.run_id),
        batch_id=int(batch_tag) if batch_tag else None,
    )


def is_over(instance: dg.DagsterInstance) -> Callable[[str], bool]:
    """Whether a run has ended, or is not known any more."""

    def ended(run_id: str) -> bool:
        run = instance.get_run_by_id(run_id)
        return run is None or run.is_finished

    return ended


def build_audit_assets(stages: Sequence[Stage], settings: Settings) -> dg.AssetsDefinition:
    """The multi-asset over `stages`, in pipeline order."""

    @dg.multi_asset(
        name="audit_calls",
        specs=asset_specs(stages),
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=settings.files_per_run),
    )
    def audit_calls(
        context: dg.AssetExecutionContext,
        database: dg.ResourceParam[Database],
        volume: dg.ResourceParam[Volume],
        mediators: MediatorPoolResource,
        llm: LlmResource,
    ):
        order = order_of(context, stages)
        call_run = CallRun(
            order,
            database=database,
            volume=volume,
            open_tools=lambda: open_tools(database, mediators, llm, settings),
            reporter=PartitionReporter(
                context.instance,
                run_id=order.run_id,
                job_name=context.run.job_name,
                step_key=context.op_execution_context.get_step_execution_context().step.key,
            ),
            ledger=RunLedger(
                database,
                stages,
                batch_id=order.batch_id,
                options=LogOptions(
                    log_successes=settings.log_successes,
                    log_file_start_events=settings.log_file_start_events,
                    reaudit=order.batch_id is None,
                ),
                progress_interval=settings.progress_update_interval,
                audio_endpoint=settings.audio_endpoint,
            ),
            is_over=is_over(context.instance),
        )
        try:
            summary = call_run.work()
        except (InvalidInput, ConfigError) as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        except TransientError as error:
            # The same run takes it up again, and so only what is not done.
            raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=RETRY_WAIT_S) from error
        except Interrupted as interrupted:
            raise DagsterExecutionInterruptedError from interrupted
        context.log.info(summary_text(summary))
        if summary.failed:
            raise dg.Failure(description=summary.failure_text(), allow_retries=False)
        # No output is given: an output would materialize every partition of the run's range at once.
        yield from ()

    return audit_calls


def summary_text(summary: RunSummary) -> str:
    """What a run did, a line a stage: `lid: 998 done, 2 failed`."""
    lines = [f"{summary.calls} calls"]
    for stage, counts in summary.counts.items():
        parts = [f"{counts[state]} {state.value}" for state in StageState if counts[state]]
        lines.append(f"{stage}: {', '.join(parts)}")
    return "\n".join(lines)
