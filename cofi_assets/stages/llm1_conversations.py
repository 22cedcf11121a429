"""`llm1_conversations`: the trades spoken about in a call, each with the words that prove it.

Belongs here: handing the conversation and the booked trades to the reader. How trades are found and checked against
their evidence is the reader's (`cofi_resources/llm`).
"""

from cofi_assets.stages.stage import CallInHand, Done, Input, Stage, StageTools
from cofi_resources.records import CallStatus, SpokenTrade, StageBookkeeping

MAX_TRADES_SHOWN = 5


def in_words(trade: SpokenTrade) -> str:
    """One trade in words, such as `BUY 50 RELIANCE @ 2450`."""
    quantity = f"{trade.quantity:g}" if trade.quantity is not None else "?"
    price = f" @ {trade.trade_price:g}" if trade.trade_price is not None else ""
    option = f" {trade.strike_price:g} {trade.option_type or ''}".rstrip() if trade.strike_price is not None else ""
    return f"{trade.buy_sell or '?'} {quantity} {trade.script_name}{option}{price}"


async def find_trades(hand: CallInHand, tools: StageTools) -> Done:
    found = await tools.reader.extract_trades(hand.spoken(), hand.booked_trades, key=hand.request_key("llm1"))
    return Done(
        result=found,
        metadata={
            "trades": len(found.trades),
            "spoken": "; ".join(in_words(trade) for trade in found.trades[:MAX_TRADES_SHOWN]),
            "dropped_without_evidence": found.dropped,
            "engine": f"{found.engine.name} {found.engine.model}".strip(),
        },
    )


STAGE = Stage(
    bookkeeping=StageBookkeeping("llm1_conversations", "llm1", "llm1Done", "llm1Status", "llm1Done"),
    run=find_trades,
    description="The trades spoken about, in `callConversation`, each with its evidence.",
    after=("transcripts",),
    inputs=Input.CONVERSATION | Input.BOOKED_TRADES,
    status_after=CallStatus.AUDIT_DONE,
)
