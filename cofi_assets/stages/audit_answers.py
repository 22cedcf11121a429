"""`audit_answers`: the desk's audit form, answered for a call, each answer with the words that justify it.

Belongs here: which form a call is asked, and what its partition shows. How answers are found is the reader's.
"""

from collections import Counter

from cofi_assets.stages.stage import CallInHand, Done, Input, Stage, StageTools
from cofi_resources.records import CallStatus, FormAnswered, StageBookkeeping


def tally(answered: FormAnswered) -> str:
    """How often each answer was given, the most frequent first: `YES 14, NA 6, NO 4`."""
    counts = Counter(answer.answer for answer in answered.answers)
    return ", ".join(f"{answer} {count}" for answer, count in counts.most_common())


async def answer_form(hand: CallInHand, tools: StageTools) -> Done:
    form = await tools.form_of_process(hand.call.process_id or tools.default_process_id)
    answered = await tools.reader.answer_form(hand.spoken(), form, key=hand.request_key("llm2"))
    return Done(
        result=answered,
        metadata={
            "form": f"{form.name} ({form.version})",
            "answers": len(answered.answers),
            "tally": tally(answered),
            "with_evidence": sum(answer.evidence is not None for answer in answered.answers),
            "evidence_rejected": answered.unproven,
            "engine": f"{answered.engine.name} {answered.engine.model}".strip(),
        },
    )


STAGE = Stage(
    bookkeeping=StageBookkeeping("audit_answers", "llm2", "llm2Done", "llm2Status", "llm2Done"),
    run=answer_form,
    description="The audit form answered, one row a question in `auditAnswer`, with evidence and score.",
    after=("transcripts", "llm1_conversations"),
    inputs=Input.CONVERSATION,
    status_after=CallStatus.COMPLETE,
)
