"""What a Prefect server is told to do by itself, and that it does: schedules, limits, dead and late runs, messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from uuid import UUID

import pytest
from prefect import get_client
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Failed, Scheduled
from prefect.utilities.templating import apply_values

from flows import policy
from flows.machines.deploy import Wishes, deploy
from tasks.contracts import DefectoryError

PROJECT = Path(__file__).parents[2]
FOUR = ("factory", "fan-out", "publish", "generate-part")


def registered(flow: str) -> DeploymentResponse:
    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name(f"{flow}/local")


def state_of(flow_run: UUID) -> StateType | None:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run).state_type


def has_sent_a_heartbeat(flow_run: UUID) -> bool:
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{flow_run}"]}}
    with get_client(sync_client=True) as client:
        return bool(client.request("POST", "/events/filter", json={"filter": wanted}).json()["total"])


def wait_for(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.2)


def test_deployments_work_on_the_folder_they_were_made_for(server: str, tmp_path: Path) -> None:
    deploy(tmp_path, Wishes(store="s3://datasets/x"))
    place = {"params": str(tmp_path / "params.yaml"), "root": str(tmp_path / "data")}
    shared = {"store": "s3://datasets/x"}
    assert registered("factory").parameters == place
    assert registered("fan-out").parameters == place | shared
    assert registered("publish").parameters == {"repo": str(tmp_path)} | shared
    assert all(registered(flow).schedules == [] for flow in FOUR), "nothing is published unasked"


def test_a_second_run_of_the_whole_waits_and_parts_do_not(server: str, tmp_path: Path) -> None:
    deploy(tmp_path)
    for flow in FOUR[:3]:
        found = registered(flow)
        assert found.global_concurrency_limit is not None
        assert found.global_concurrency_limit.limit == 1
        assert found.concurrency_options is not None
        assert found.concurrency_options.collision_strategy == "ENQUEUE"
        assert found.work_pool_name == policy.POOL
    assert registered("generate-part").global_concurrency_limit is None
    assert registered("generate-part").work_pool_name == policy.PARTS_POOL


def test_workers_find_the_flows_in_the_installed_package(server: str, tmp_path: Path) -> None:
    """Without a path of this machine: other machines have none of its folders."""
    deploy(tmp_path)
    for flow in FOUR:
        entrypoint, steps = registered(flow).entrypoint, registered(flow).pull_steps
        assert load_flow_from_entrypoint(str(entrypoint)).name == flow
        assert str(PROJECT) not in f"{entrypoint} {steps}"


def test_a_schedule_is_active_and_stays_until_another_one_is_given(server: str, tmp_path: Path) -> None:
    deploy(tmp_path, Wishes(cron="0 2 * * *", timezone="Europe/Vienna"))
    for wishes in (Wishes(), Wishes(cron="30 4 * * *", timezone="Europe/Vienna")):
        [before] = registered("publish").schedules
        assert before.active
        deploy(tmp_path, wishes)
        [after] = registered("publish").schedules
        assert (after.schedule.cron, after.schedule.timezone) == (wishes.cron or before.schedule.cron, "Europe/Vienna")


@pytest.mark.parametrize("wishes", [Wishes(cron="at night"), Wishes(cron="0 2 * * *", timezone="Vienna")])
def test_a_schedule_that_is_none_is_refused(server: str, tmp_path: Path, wishes: Wishes) -> None:
    with pytest.raises(DefectoryError, match=r"--cron .* --timezone "):
        deploy(tmp_path, wishes)


def test_automations_are_there_once_however_often_this_is_called(server: str, tmp_path: Path) -> None:
    for _ in range(2):
        deploy(tmp_path)
    with get_client(sync_client=True) as client:
        names = [automation.name for automation in client.read_automations()]
    assert sorted(names) == ["defectory: cancel late runs", "defectory: end dead runs"]


class _Listener(BaseHTTPRequestHandler):
    received: Queue[str]

    def do_POST(self) -> None:
        self.received.put(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def messages(server: str) -> Iterator[Queue[str]]:
    """What comes in through the block `custom-webhook/alerts`."""
    received: Queue[str] = Queue()
    with HTTPServer(("127.0.0.1", 0), type("_Own", (_Listener,), {"received": received})) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{http.server_address[1]}"
        block = CustomWebhookNotificationBlock(name="a", url=address, json_data={"text": "{{subject}} {{body}}"})
        block.save("alerts", overwrite=True)
        yield received
        http.shutdown()


def test_a_run_that_fails_is_told_through_the_block_and_a_part_that_fails_is_not(
    messages: Queue[str], tmp_path: Path
) -> None:
    deploy(tmp_path, Wishes(notify="custom-webhook/alerts"))
    with get_client(sync_client=True) as client:
        for flow in ("generate-part", "publish"):
            parameters = {"run": "s3://a/b", "index": 0, "count": 1} if flow == "generate-part" else {}
            run = client.create_flow_run_from_deployment(registered(flow).id, parameters=parameters, name=f"{flow}-7")
            client.set_flow_run_state(run.id, Failed(message="the store has no space left"), force=True)
    text = messages.get(timeout=300)
    assert "publish-7 of publish/local: Failed\nthe store has no space left" in text
    assert messages.empty(), "a part is submitted again by itself"


def test_a_block_that_is_not_there_is_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"--notify slack-webhook/nobody: .*expected type/name"):
        deploy(tmp_path, Wishes(notify="slack-webhook/nobody"))


_SLEEPER = """
import time
from prefect import flow

@flow
def sleeper():
    from prefect.runtime import flow_run
    print(flow_run.id, flush=True)
    time.sleep(600)

sleeper()
"""


@pytest.fixture
def impatient(server: str, tmp_path: Path) -> Iterator[None]:
    """Automations that wait for seconds; other tests' runs are not given up so soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "DEAD_AFTER_SECONDS", 10)
        patch.setattr(policy, "LATE_AFTER_SECONDS", 10)
        deploy(tmp_path)
        yield
    deploy(tmp_path)


def test_dead_runs_are_ended_and_late_ones_cancelled(impatient: None) -> None:
    """A process is killed before it can say anything, and nobody takes a run that was due an hour ago."""
    environment = {**os.environ, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    process = subprocess.Popen([sys.executable, "-c", _SLEEPER], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    dead = UUID(process.stdout.readline().strip())
    wait_for(lambda: has_sent_a_heartbeat(dead), "the first heartbeat")
    process.kill()
    process.communicate()
    wait_for(lambda: state_of(dead) == StateType.CRASHED, "the end of the dead run")
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    with get_client(sync_client=True) as client:
        late = client.create_flow_run_from_deployment(
            registered("publish").id, state=Scheduled(scheduled_time=an_hour_ago)
        ).id
    wait_for(lambda: state_of(late) in (StateType.CANCELLED, StateType.CANCELLING), "the end of the late run")


def test_publishing_waits_for_a_run_in_the_same_workspace(tmp_path: Path) -> None:
    from flows.line.lock import alone

    program = "import sys; from pathlib import Path; from flows.publish import publish; publish(Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with alone(tmp_path / "data"):
        environment.pop("DEFECTORY_LOCKS", None)
        other = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert other.stdout is not None
        assert other.stdout.readline().startswith(f"waiting for process {os.getpid()} ")
    assert "expected a git and dvc repository" in other.communicate(timeout=300)[1], "then it goes on"


def test_the_template_for_kubernetes_is_one_that_prefect_takes(server: str) -> None:
    template = json.loads((PROJECT / "docs" / "kubernetes-pool.json").read_text(encoding="utf-8"))
    pool = WorkPoolCreate(name="on-kubernetes", type="kubernetes", base_job_template=template)
    with get_client(sync_client=True) as client:
        made = client.create_work_pool(pool, overwrite=True)
    assert made.base_job_template == template
    variables = template["variables"]["properties"].items()
    given = {name: variable["default"] for name, variable in variables if "default" in variable}
    pod = apply_values(template["job_configuration"]["job_manifest"], given)["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert pod["restartPolicy"] == "Never", "Prefect and the coordinator start it again, and both would"
    assert container["envFrom"] == [{"secretRef": {"name": "defectory-store"}}], "the key is in no deployment"
