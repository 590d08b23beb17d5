"""A whole Freshet on a corner of a broker: replicas, learners and workers as processes, over one data folder."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import httpx

from broker.cluster import Cluster
from tests.faults.process import ServiceProcess, wait_until
from tests.kafka.worker_process import N_PARTITIONS, WorkerProcess, World

LENGTH = 255  # of a sequence: all that a user does in a test is shown
SETTINGS = {"SEQUENCE_LENGTH": str(LENGTH), "PARTITIONS": str(N_PARTITIONS), "LOG_LEVEL": "info"}
LAGS = ("freshet_consumer_lag_records{", "freshet_worker_lag_records{")


class Site(World):
    """Processes of one test.

    Args:
        broker: Where the topics are, under a prefix of their own.
        folder: For data and for what processes print.
    """

    def __init__(self, broker: Cluster, folder: Path) -> None:
        super().__init__(broker, folder)
        self.data_dir = folder / "data"
        self.url = f"kafka://{','.join(self.kafka.servers)}/{self.prefix}"
        self.alive: list[ServiceProcess] = []  # replicas that must answer
        self._services: list[ServiceProcess] = []

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for service in self._services:
            service.kill()
        super().__exit__(kind, exc, trace)

    def service(self, name: str, role: str, **settings: str) -> ServiceProcess:
        """A process of one role, not started; settings are variables without FRESHET_."""
        settings = {**SETTINGS, "LOG": self.url, "ROLES": f'["{role}"]', **settings}
        service = ServiceProcess(self.data_dir, settings, log=self.folder / f"{name}.log")
        self._services.append(service)
        return service

    def start_replicas(self, *names: str) -> list[ServiceProcess]:
        """Replicas that serve, each with a share of the partitions."""
        replicas = [self.service(name, "feeds") for name in names]
        with ThreadPoolExecutor() as pool:
            list(pool.map(ServiceProcess.start, replicas))
        self.alive += replicas
        wait_until(lambda: all(held(replica) for replica in replicas), f"{len(replicas)} replicas share the users")
        return replicas

    def start_workers(self, *names: str, **settings: str) -> list[WorkerProcess]:
        """Workers that handle records."""
        workers = [self.worker(name, WORKER_IDLE_S="86400", **settings).start() for name in names]
        return [worker.wait_until_ready() for worker in workers]

    def kill(self, replica: ServiceProcess) -> None:
        """SIGKILL, and start it again, as a supervisor would; nobody asks it before `wait_until_back`."""
        self.alive.remove(replica)
        replica.kill()
        replica.spawn()

    def wait_until_back(self, replica: ServiceProcess) -> None:
        """Until it answers and is asked again."""
        replica.wait_until_serving()
        self.alive.append(replica)

    def wait_until_nothing_lags(self, *workers: WorkerProcess) -> None:
        """Until every role of every process says it has read all there is."""
        urls = [replica.url for replica in self.alive] + [f"http://127.0.0.1:{worker.port}" for worker in workers]
        wait_until(lambda: all(_lag(url) == 0 for url in urls), "lag returns to zero")


def held(replica: ServiceProcess) -> list[int]:
    """Partitions that a replica says it holds."""
    partitions: list[int] = replica.get("/v1/replicas")["held"]
    return partitions


def handled(worker: WorkerProcess) -> list[int]:
    """Partitions whose records a worker handles now; none while it starts, recovers or is dead."""
    try:
        facts = worker.facts()
    except httpx.TransportError:
        return []
    return facts["partitions"] if facts["is_ready"] else []


def _lag(url: str) -> float:
    text = httpx.get(f"{url}/metrics", timeout=10).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(LAGS))
