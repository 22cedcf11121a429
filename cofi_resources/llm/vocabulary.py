"""The words of a dealing desk, as the grammar of orders and the phrases know them, in English and in Hindi.

What belongs here: sets of words, with what they mean to the readers of text. What does not: any reading.
"""


def words(text: str) -> frozenset[str]:
    """The words of a list written in one line."""
    return frozenset(text.split())


NEGATIONS = words(
    "not no never nothing cannot can't don't didn't won't isn't doesn't wouldn't without nahi nahin mat नहीं मत"
)
HINDI_NEGATIONS = words("nahi nahin mat नहीं मत")
"""These stand after what they deny as well as before it."""

QUANTITY_UNITS = words("share shares lot lots quantity qty units unit equity equities शेयर शेयर्स लॉट")
PRICE_BEFORE = words("at @ rate price limit rupees rs premium bhav")
PRICE_AFTER = words("rupees rs rupaye rupaya par pe mein रुपये रुपए पर पे में")
PRICE_FILLERS = words("of is the a for around about rupees rs limit price rate premium")
NO_PRICE_BEFORE = words("loss stoploss target trigger trading quoting opened closed")
NO_PRICE_AFTER = words("o'clock am pm baje percent th st nd rd")
OF_ANOTHER_TIME = words("yesterday yesterday's earlier previous pending kal morning morning's subah old")
TAKES_ALL = words("all both everything dono")
MONTHS = words(
    "january february march april may june july august september october november december "
    "jan feb mar apr jun jul aug sep oct nov dec"
)
OPTION_KINDS = {"call": "CE", "ce": "CE", "calls": "CE", "put": "PE", "pe": "PE", "puts": "PE"}

NO_SCRIP = words(
    "at for of the a an and to in on please shares share lots lot quantity price rupees market limit order option call "
    "put strike now today then also it them that this me my your more some any rate level only yes no is are with from "
    "expiry cash delivery or want would like i you we limited ltd ji sir madam okay ok so us one's all same what which "
    "lo do kar ke ka ki par pe mein se"
)
"""Words that no `{name}` in a phrase stands for."""

NO_NAME = (
    NO_SCRIP
    | QUANTITY_UNITS
    | PRICE_BEFORE
    | PRICE_AFTER
    | MONTHS
    | words(
        "haan ha theek hai mujhe aap apka aapka mera main hum hamare bhi aur wala ko krna karna karo kijiye dijiye "
        "lijiye jaldi all full half position positions good fine great yeah right sure confirm confirmed correct "
        "repeat read back wish going have has been will can could should shall let just still note placing "
        "place placed puts "
        "calls ce pe options futures future contract contracts monthly weekly current account code client client's his "
        "her their stock stocks scrip trade deal intraday nse bse each per lakh liye abhi aaj kal yesterday tomorrow "
        "morning thank thanks hello but because if when thinking planning about by get got did was were there here up "
        "down out into under over again instead sirf "
        "मैं दोहराती दोहराता हूँ हूं क्या यह सही हैं "
        "हां हाँ मुझे आप जी है के का की को लो दो भाव buy sell"
    )
)
"""Words that no scrip's name begins with or consists of."""
