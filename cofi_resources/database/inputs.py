"""What the LLM stages read: transcripts and the trades booked for a call.

What belongs here: reads by hundreds of calls, never one query a call. What does not: what people look at (`views.py`).
"""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, select

from cofi_resources.database.bulk import chunks
from cofi_resources.database.tables import (
    call,
    file_distribution,
    language,
    registered_call,
    trade_audio_mapping,
    trade_metadata,
    transcript,
)
from cofi_resources.records import BookedTrade, Conversation, Segment

# Indexes: uq_transcript_callId_seq, the primary key of language.
_SEGMENTS = (
    select(
        transcript.c.callId,
        transcript.c.startTime,
        transcript.c.endTime,
        transcript.c.speaker,
        transcript.c.text,
        transcript.c.confidence,
        language.c.languageCode,
    )
    .select_from(transcript.outerjoin(language, language.c.id == transcript.c.languageId))
    .where(transcript.c.callId.in_(bindparam("ids", expanding=True)))
    .order_by(transcript.c.callId, transcript.c.seq)
)

# Indexes: the primary key of call, uq_fileDistribution_callId.
_CALLS = (
    select(call.c.id, call.c.lang, file_distribution.c.sttDone)
    .select_from(call.outerjoin(file_distribution, file_distribution.c.callId == call.c.id))
    .where(call.c.id.in_(bindparam("ids", expanding=True)))
)

# Indexes: the primary keys of registeredCall and tradeMetadata, ix_tradeAudioMapping_batchId_audioFileName.
_BOOKED = (
    select(
        registered_call.c.id,
        trade_audio_mapping.c.symbol,
        trade_audio_mapping.c.scripName,
        trade_metadata.c.buySell,
        trade_audio_mapping.c.tradeQuantity,
        trade_audio_mapping.c.tradePrice,
        trade_audio_mapping.c.strikePrice,
    )
    .select_from(
        registered_call.join(
            trade_audio_mapping,
            (trade_audio_mapping.c.batchId == registered_call.c.batchId)
            & (trade_audio_mapping.c.audioFileName == registered_call.c.file),
        ).join(trade_metadata, trade_metadata.c.id == trade_audio_mapping.c.tradeMetadataId)
    )
    .where(registered_call.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(trade_audio_mapping.c.id)
)


def conversations(conn: Connection, call_ids: Sequence[int]) -> dict[int, Conversation]:
    """The transcripts of calls, in order of time. A call that was never transcribed is absent; a silent one is empty.

    The language is the one it was transcribed in.
    """
    found: dict[int, Conversation] = {}
    for ids in chunks(sorted(set(call_ids))):
        segments: dict[int, list[Segment]] = {}
        languages: dict[int, str | None] = {}
        for call_id, start_s, end_s, speaker, text, confidence, code in conn.execute(_SEGMENTS, {"ids": ids}):
            segments.setdefault(call_id, []).append(Segment(start_s, end_s, speaker, text, confidence))
            languages[call_id] = code
        for call_id, spoken, is_transcribed in conn.execute(_CALLS, {"ids": ids}):
            if is_transcribed or call_id in segments:
                found[call_id] = Conversation(languages.get(call_id) or spoken, tuple(segments.get(call_id, ())))
    return found


def booked_trades(conn: Connection, call_ids: Sequence[int]) -> dict[int, tuple[BookedTrade, ...]]:
    """The trades that triage mapped to each call. Calls with none are absent."""
    found: dict[int, list[BookedTrade]] = {}
    for ids in chunks(sorted(set(call_ids))):
        for call_id, symbol, name, side, *amounts in conn.execute(_BOOKED, {"ids": ids}):
            quantity, price, strike = amounts
            found.setdefault(call_id, []).append(
                BookedTrade(
                    symbol=symbol or "",
                    script_name=name or "",
                    buy_sell=side or "",
                    quantity=quantity,
                    trade_price=price,
                    strike_price=strike,
                )
            )
    return {call_id: tuple(trades) for call_id, trades in found.items()}
