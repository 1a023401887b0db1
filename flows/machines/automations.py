"""What a Prefect server does by itself about runs that go wrong: it ends dead and late ones, and tells somebody.

In: the deployments to watch, and the block that messages go through. Out: automations of the server, one of each name,
however often this is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from prefect import get_client
from prefect.automations import (
    AutomationCore,
    CancelFlowRun,
    ChangeFlowRunState,
    EventTrigger,
    Posture,
    SendNotification,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from flows import policy
from tasks.contracts import DefectoryError

_Labels = dict[str, str | list[str]]
_RUNS: _Labels = {"prefect.resource.id": "prefect.flow-run.*"}
_EACH = {"prefect.resource.id"}
_ENDS = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")}
_BODY = """\
{{ flow_run.name }} of {{ flow.name }}/{{ deployment.name }}: {{ flow_run.state.name }}
{{ flow_run.state.message }}
{{ flow_run|ui_url }}
"""


def watch(deployments: Sequence[UUID], notify: str | None = None) -> None:
    """End dead runs and runs that nobody takes; with `notify` (`type/name` of a block) say so where one fails or waits.

    Raises DefectoryError where there is no such block.
    """
    ids = [f"prefect.deployment.{deployment}" for deployment in deployments]
    of_ours: _Labels = {"prefect.resource.role": "deployment", "prefect.resource.id": ids}
    _save(_dead(), _late(of_ours))
    if notify:
        message = SendNotification(
            type="send-notification", block_document_id=_block(notify), subject="Defectory: a run needs you", body=_BODY
        )
        events = {f"prefect.flow-run.{name}" for name in ("Failed", "Crashed", "Late")}
        trigger = EventTrigger(expect=events, match=_RUNS, match_related=of_ours, for_each=_EACH, threshold=1)
        _save(AutomationCore(name="defectory: say what failed", trigger=trigger, actions=[message]))


def _dead() -> AutomationCore:
    """A run whose process or machine is gone would be running for ever, and keep the next one waiting."""
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.heartbeat", *_ENDS},
        match=_RUNS,
        for_each=_EACH,
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=policy.DEAD_AFTER_SECONDS),
    )
    crashed = ChangeFlowRunState(
        type="change-flow-run-state",
        name="Crashed",
        state=StateType.CRASHED,
        message="no sign of life from its process",
        force=False,
    )
    return AutomationCore(name="defectory: end dead runs", trigger=trigger, actions=[crashed])


def _late(of_ours: _Labels) -> AutomationCore:
    """A worker that comes back after days has one run to do, and not one for each night."""
    trigger = EventTrigger(
        after={"prefect.flow-run.Late"},
        expect={
            "prefect.flow-run.Pending",
            "prefect.flow-run.Running",
            "prefect.flow-run.AwaitingConcurrencySlot",
            *_ENDS,
        },
        match=_RUNS,
        match_related=of_ours,
        for_each=_EACH,
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=policy.LATE_AFTER_SECONDS),
    )
    # Said aloud: an update sends what was set alone, and an action without a type does nothing from then on.
    cancel = CancelFlowRun(type="cancel-flow-run")
    return AutomationCore(name="defectory: cancel late runs", trigger=trigger, actions=[cancel])


def _save(*automations: AutomationCore) -> None:
    with get_client(sync_client=True) as client:
        for automation in automations:
            existing = client.read_automations_by_name(automation.name)
            if existing:
                client.update_automation(existing[0].id, automation)
            else:
                client.create_automation(automation)


def _block(name: str) -> UUID:
    kind, _, own = name.partition("/")
    try:
        with get_client(sync_client=True) as client:
            return client.read_block_document_by_name(own, kind).id
    except ObjectNotFound:
        raise DefectoryError(
            f"--notify {name}: the server has no such block; expected type/name, such as slack-webhook/alerts. "
            "Blocks are made in the server's UI, or with Python: SlackWebhook(url=...).save('alerts')"
        ) from None
