"""Runs on the nodes of a Ray cluster: each has an actor there, which holds what the run takes and its process."""

import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffworld.runs.folder import RunFolder
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.memory import in_words
from diffworld.runtime.progress import Display
from diffworld.sweep.campaign import Configs, News, ended, order
from diffworld.sweep.plan import PlannedRun
from diffworld.sweep.sitting import Shared

ANSWER_SECONDS = 5.0  # until a head node has taken a connection
CLOCK_SECONDS = 60.0  # by which clocks may differ
PATIENCE = 2.0  # how long an actor waits for news of its process before it answers
LOCAL, FOUND = "local", "auto"
STORE_BYTES = 100 * 2**20  # of a cluster that is started here: nothing large is sent around


@dataclass
class Seat:
    """A run's actor, what it was last asked, and its node once it has one."""

    actor: Any
    answer: Any
    node: str = ""


class Nodes:
    """The nodes of the Ray cluster at `address`, for as long as it is open. UserError if there is none."""

    def __init__(self, address: str, display: Display) -> None:
        self.display = display
        self.ray, self.cluster = _connect(address)
        self.actor = self.ray.remote(_actor(self.ray))
        self.seats: dict[PlannedRun, Seat] = {}
        self.failed: list[News] = []
        self.left_out: dict[str, str] = {}
        """Why a node will not do, by its id."""

    def open(self, lock: Path, configs: Configs) -> None:
        """Look at what there is; UserError where no node has what a run takes."""
        data = {Path(path) for config in configs.values() for path in (config.data, config.init_from) if path}
        self.configs, self.shared = configs, Shared.here(lock, data)
        nodes = self._alive()
        total = {name: sum(node["Resources"].get(name, 0) for node in nodes) for name in ("CPU", "GPU", "memory")}
        self.any_gpu = total["GPU"] > 0
        page = f"; dashboard: http://{self.cluster.dashboard_url}" if self.cluster.dashboard_url else ""
        self.display.line(f"Ray cluster: {len(nodes)} node{'s' * (len(nodes) > 1)} with {_words(total)}{page}")
        for run in configs:
            if not any(self._fits(node, run) for node in nodes):
                most = {name: max(node["Resources"].get(name, 0) for node in nodes) for name in total}
                raise UserError(
                    f"{run.name} takes {_words(self._taken(run))}, which no node of the cluster has (each at most "
                    f"{_words(most)}): add such a node, or lower [resources] in the sweep file"
                )

    def room(self) -> bool:
        """Always: runs wait in Ray, which so knows what to make room for."""
        return True

    def add(self, run: PlannedRun) -> None:
        """Train it as soon as a node has room."""
        able = [node["NodeID"] for node in self._alive() if self._fits(node, run)]
        if able and self.left_out.keys() >= set(able):
            self.failed.append(News(run, "failed", self.left_out[able[0]]))
            return
        if not able:
            self.display.line(f"waits: {run.name}: no node is there now that has {_words(self._taken(run))}")
        taken = self._taken(run)
        but = {"label_selector": {"ray.io/node-id": f"!in({', '.join(self.left_out)})"}} if self.left_out else {}
        actor = self.actor.options(
            num_cpus=taken["CPU"], num_gpus=taken["GPU"], memory=taken["memory"] or None, max_restarts=0, **but
        ).remote()
        config = self.configs[run]
        threads = RunFolder(run.folder).threads or (1 if config.small else max(1, int(taken["CPU"])))
        answer = actor.arrive.remote(vars(order(run, threads)), vars(self.shared))
        self.seats[run] = Seat(actor, answer)

    def news(self, stop: bool) -> Iterable[News]:
        """What the actors have answered."""
        while self.failed:
            yield self.failed.pop()
        for run, seat in list(self.seats.items()):
            if stop and not seat.node:  # it waits for room, or has just found it
                self._leave(run)
                yield ended(run, -signal.SIGTERM)
        asked = {seat.answer: run for run, seat in self.seats.items()}
        ready = self.ray.wait(list(asked), num_returns=len(asked), timeout=0)[0] if asked else []
        for answer in ready:
            yield from self._hear(asked[answer], stop)

    def close(self) -> None:
        """Leave the cluster: workers that are left end, and their runs save and exit."""
        self.ray.shutdown()

    def _hear(self, run: PlannedRun, stop: bool) -> Iterator[News]:
        seat = self.seats[run]
        try:
            said = self.ray.get(seat.answer)
        except self.ray.exceptions.ActorUnavailableError:  # a broken connection: the node may well be at work
            self._ask(run, stop)
        except self.ray.exceptions.RayError as error:
            self._leave(run)
            yield News(run, "lost", _reason(error, seat.node))
        else:
            if not seat.node:
                yield from self._arrived(run, *said)
            elif said is None:
                self._ask(run, stop)
            else:
                self._leave(run)
                yield ended(run, said)

    def _arrived(self, run: PlannedRun, node: str, host: str, clock: float, objection: str) -> Iterator[News]:
        """Begin the run on the node where it found room, unless that will not do."""
        ahead = clock - time.time()
        if not objection and abs(ahead) > CLOCK_SECONDS:
            side = "ahead of" if ahead > 0 else "behind"
            objection = f"has a clock {abs(ahead):.0f} s {side} the sweep's: set both by NTP"
        if not objection:
            self.seats[run].node = host
            self._ask(run, False)
            yield News(run, "began", f", on {host}")
            return
        if node not in self.left_out:
            self.left_out[node] = f"node {host} {objection}"
            self.display.line(f"left out: {self.left_out[node]}")
        self._leave(run)
        self.add(run)

    def _ask(self, run: PlannedRun, stop: bool) -> None:
        seat = self.seats[run]
        seat.answer = seat.actor.look.remote(stop, PATIENCE)

    def _leave(self, run: PlannedRun) -> None:
        self.ray.kill(self.seats.pop(run).actor)

    def _alive(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    def _taken(self, run: PlannedRun) -> dict[str, float]:
        """What a run takes, by Ray's names."""
        asked = run.resources
        gpus = asked.gpus if asked.gpus is not None else float(self.any_gpu and self.configs[run].device != "cpu")
        return {"CPU": asked.cpus, "GPU": gpus, "memory": asked.memory}

    def _fits(self, node: dict[str, Any], run: PlannedRun) -> bool:
        return all(node["Resources"].get(name, 0) >= amount for name, amount in self._taken(run).items())


def _actor(ray: Any) -> type:
    """What is at a run's side on its node. Ray sends the class itself, so it is there even without diffworld."""

    class Run:
        sitting: Any = None

        def arrive(self, order: dict[str, Any], shared: dict[str, Any]) -> tuple[str, str, float, str]:
            """Node, machine and time there, and why the run cannot be trained there; empty if it can."""
            try:
                from diffworld.sweep.sitting import Order, Shared, Sitting

                self.sitting = Sitting(Order(**order))
                objection = Shared(**shared).missing()
                if not ray.get_runtime_context().get_accelerator_ids()["GPU"]:
                    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # those of the node are for others
            except (ImportError, TypeError) as error:
                objection = f"cannot use its diffworld ({error}): install there what the sweep's machine has"
            return ray.get_runtime_context().get_node_id(), socket.gethostname(), time.time(), objection

        def look(self, stop: bool, patience: float) -> int | str | None:
            return self.sitting.look(stop, patience)

    return Run


def _connect(address: str) -> tuple[Any, Any]:
    """Join the cluster at `address`, or start one on this machine alone; Ray, and what it tells of the cluster."""
    if address not in (LOCAL, FOUND):
        _check_answer(address)
    # A cluster started here tells nobody of it, and hundreds of lines that Ray prints of a dead node are left out.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray needs the extra ray on every machine: pip install 'diffworld[ray]'") from error
    own = {"object_store_memory": STORE_BYTES} if address == LOCAL else {}
    try:
        return ray, ray.init(address, log_to_driver=False, logging_level="ERROR", **own)
    except Exception as error:  # Ray has no class of its own for what goes wrong here
        raise UserError(
            f"cannot join the Ray cluster at '{address}' ({one_line(error, 300)}): start the sweep on one of its "
            "machines, with its Ray and its Python"
        ) from error


def _check_answer(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isascii() or not port.isdigit():
        raise UserError(
            f"--ray is '{address}': give the head node as HOST:PORT, or {FOUND} for the cluster this machine belongs "
            f"to, or {LOCAL} for this machine alone"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({one_line(error)}): check the address (ray status), or start one "
            "(ray start --head)"
        ) from error


def _reason(error: Exception, node: str) -> str:
    """In one line, how a run was lost; Ray tells it in several."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = one_line(next((line for line in lines if "because" in line), lines[0]), 200)
    return f"node {node}: {said}" if node else said


def _words(amounts: dict[str, float]) -> str:
    """Amounts by Ray's names in words, such as "2 cores, 0.5 GPUs, 8.0 GiB of memory"."""
    said = [f"{amounts['CPU']:g} cores"]
    said += [f"{amounts['GPU']:g} GPUs"] if amounts["GPU"] else []
    said += [f"{in_words(int(amounts['memory']))} of memory"] if amounts["memory"] else []
    return ", ".join(said)
