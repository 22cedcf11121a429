"""The day's metadata of a batch: calls, booked trades, the pairs triage found, and rows that were refused.

The columns are those of the CSV headers (domain, section 4). Numbers, dates and times of a trade are typed: a row that
does not parse goes to `metadataReject` with its reason.
"""

from sqlalchemy import Boolean, Column, Date, ForeignKey, Index, Integer, String, Time

from cofi_resources.database.tables.columns import (
    ID,
    REAL,
    TEXT,
    TIMESTAMP,
    exact,
    file_name,
    id_column,
    table,
)


def _words(*names: str) -> list[Column]:
    return [Column(name, String(255)) for name in names]


call_metadata = table(
    "callMetadata",
    id_column(),
    *_words("nId", "sClientId", "sClientName", "sClientMobileNumber", "nBranchId", "sBranchName", "sSessionId"),
    *_words("dCallStartTime", "dCallEndTime", "nCallType", "nCallStatus", "sAgentId", "sAgentName"),
    Column("sAgentMobileNumber", String(255)),
    Column("sRecordingFileName", file_name()),
    Column("sRecordingUrl", TEXT),
    Column("nTagId", String(255)),
    Column("sRemark", TEXT),
    *_words("dLastUpdateTime", "nFeedBack", "nIsAdd", "sSIPChannel"),
    Column("batchId", ID, ForeignKey("batchStatus.id"), nullable=False),
    Column("callStartDate", Date),
    Column("callStartTime", Time),
    Column("callEndDate", Date),
    Column("callEndTime", Time),
    Index(None, "batchId", "sClientMobileNumber"),
    Index(None, "batchId", "sClientId"),
    Index(None, "batchId", "sRecordingFileName"),
)

_ORDER = ("orderId", "clientCode", "regNumber", "alNumber")
_INSTRUMENT = ("instType", "expiryDate", "optionType", "symbol", "comScriptCode", "scripName")


def _amounts() -> list[Column]:
    return [Column(name, REAL) for name in ("strikePrice", "tradeQuantity", "tradePrice", "tradeValue", "lotQty")]


trade_metadata = table(
    "tradeMetadata",
    id_column(),
    *_words(*_ORDER, "clientName", "alName", "alRelation"),
    Column("tradeDate", Date),
    Column("orderPlacedTime", Time),
    *_words("buySell", *_INSTRUMENT),
    *_amounts(),
    *_words("dealerCodeSbMainCode", "dealerNameSuBrokerName", "dealerEmailId", "dealingBranch", "dealingZone"),
    *_words("dealingState", "dealingCity", "loginId", "digit12", "originalExchangeCode"),
    Column("voiceRecordingConfirmations", String(255)),
    Column("audioFileName", TEXT),
    Column("audioCallRef", TEXT),
    Column("batchId", ID, ForeignKey("batchStatus.id"), nullable=False),
    Index(None, "batchId", "clientCode"),
)

trade_audio_mapping = table(
    "tradeAudioMapping",
    id_column(),
    Column("tradeMetadataId", ID, ForeignKey("tradeMetadata.id"), nullable=False),
    *_words(*_ORDER),
    Column("tradeDate", Date),
    Column("orderPlacedTime", Time),
    *_words(*_INSTRUMENT),
    *_amounts(),
    Column("voiceRecordingConfirmations", String(255)),
    Column("audioFileName", file_name(), nullable=False),
    Column("batchId", ID, ForeignKey("batchStatus.id"), nullable=False),
    Column("isScript", Boolean),
    Column("isPrice", Boolean),
    Column("isQuantity", Boolean),
    Index(None, "batchId", "audioFileName"),
)

metadata_reject = table(
    "metadataReject",
    id_column(),
    Column("batchId", ID, ForeignKey("batchStatus.id"), nullable=False),
    Column("file", exact(255), nullable=False),
    Column("lineNumber", Integer, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("line", TEXT, nullable=False),
    Column("createdAt", TIMESTAMP, nullable=False),
)
