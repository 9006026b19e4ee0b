"""Work spread over the actors of a Ray cluster.

Ray places the actors, starts them anew elsewhere when their nodes die, and asks for
more nodes where it may; here is only which job goes to which of them. An actor has one
job at hand and the next one waiting; no more are taken from their source.
"""

from __future__ import annotations

import collections
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from sswavenet.backend.cores import num_cores
from util import UserError

logger = logging.getLogger(__name__)

NUM_WAITING = 2  # jobs in an actor, so that it need not wait for the next one
CONNECTING = 10  # seconds
MAX_DEATHS = 3  # a job that ends its process so often is not given to another

Job = TypeVar("Job")


class Actor:
    """Holds what does the work; made by a function that lies in Ray's object store.

    Its reference comes along with each call, for an actor may have been started anew;
    in a list, so that Ray leaves it to the actor to look there.
    """

    def __init__(self) -> None:
        self._work: Callable | None = None

    def ready(self, held: list[Any]) -> None:
        """Get ready for the first job, by what may fail."""
        if self._work is None:
            self._work = ray.get(held[0])()

    def do(self, held: list[Any], job: Any, again: bool) -> Any:
        """Do a job."""
        self.ready(held)
        return self._work(job, again)  # type: ignore[misc]


def connect(address: str) -> None:
    """Join a Ray cluster; `local` starts one here. Raises UserError where it fails."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    given: dict[str, Any] = {"address": address, "log_to_driver": False}
    if address == "local":
        # Ray makes its processes step back otherwise, behind all others.
        os.environ.setdefault("RAY_worker_niceness", "0")
        given.update(num_cpus=num_cores(), include_dashboard=False)
        given.update(_node_ip_address="127.0.0.1")
    try:
        host, _, port = address.rpartition("/")[2].rpartition(":")
        if host:  # Ray would try for minutes
            socket.create_connection((host, int(port)), CONNECTING).close()
        ray.init(**given, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, OSError, RuntimeError, TimeoutError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"--cluster {address}: expected a Ray cluster there, got: {reason}"
        ) from error


def _start(resources: Mapping[str, float]) -> list:
    """The actors: as many as are asked for, or as fit now."""
    wanted = {"num_cpus": 1.0, **resources}
    count = int(wanted.pop("actors", 0))
    if not count:
        there = ray.cluster_resources()
        names = {"num_cpus": "CPU", "num_gpus": "GPU"}
        count = min(
            int(there.get(names.get(name, name), 0) // value)
            for name, value in wanted.items()
            if value
        )
        if count < 1:
            asked = ", ".join(f"{name}={value:g}" for name, value in wanted.items())
            raise UserError(
                f"--cluster_resources: no actor with {asked} fits into the cluster; "
                "actors=N starts N of them where nodes can be added"
            )
    options: dict[str, Any] = {
        name: wanted.pop(name) for name in ("num_cpus", "num_gpus") if name in wanted
    }
    kind = ray.remote(Actor).options(max_restarts=-1, resources=wanted, **options)
    return [kind.remote() for _ in range(count)]


def spread(
    make: Callable[[], Callable[[Job, bool], Any]],
    jobs: Iterable[Job],
    resources: Mapping[str, float],
) -> Iterator[tuple[Job, Any]]:
    """Jobs with what `make()(job, again)` returns for each, as they are finished.

    `make` runs once in each actor. Where an actor ends during a job, another one does
    it again, with `again` true; None is returned for a job that has ended `MAX_DEATHS`
    actors. Raises UserError where `make` or a job raises it, or an actor cannot start.
    """
    held = [ray.put(make)]
    source, returned = iter(jobs), collections.deque[Job]()
    is_exhausted = False
    deaths: collections.Counter[int] = collections.Counter()  # by the job's identity
    # What runs: the actor, and the job or None while it gets ready, perhaps elsewhere.
    running: dict[Any, tuple[Any, Any]] = {}
    idle: list[Any] = []  # an actor for each job that it could take

    def get_ready(actor: Any) -> None:
        reference = actor.ready.options(max_task_retries=-1).remote(held)
        running[reference] = (actor, None)

    def give(actor: Any) -> None:
        nonlocal is_exhausted
        job = returned.popleft() if returned else next(source, None)
        if job is None:
            is_exhausted = True
            idle.append(actor)
        else:
            running[actor.do.remote(held, job, deaths[id(job)] > 0)] = (actor, job)

    for actor in _start(resources):
        get_ready(actor)
    while returned or not is_exhausted or any(job for _, job in running.values()):
        (reference,), _ = ray.wait(list(running), num_returns=1)
        actor, job = running.pop(reference)
        try:
            result = ray.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise UserError(str(error.cause)) from error
            raise
        except RayActorError as error:
            reason = " ".join(str(error).split())
            if job is None:
                raise UserError(f"an actor cannot be started: {reason}") from error
            logger.warning("an actor ended during its work: %s", reason)
            idle = [other for other in idle if other is not actor]
            deaths[id(job)] += 1
            if deaths[id(job)] < MAX_DEATHS:
                returned.append(job)
                if idle:
                    give(idle.pop())
            else:
                yield job, None
            if not any(other is actor for other, _ in running.values()):
                get_ready(actor)  # once it is alive again, wherever that is
            continue
        for _ in range(NUM_WAITING if job is None else 1):
            give(actor)
        if job is not None:
            deaths.pop(id(job), None)
            yield job, result
