"""A whole Freshet on a corner of a broker: replicas, learners and workers as processes, over one data folder."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import httpx

from broker.cluster import Cluster
from stream.kafka.log import KafkaLog
from stream.kafka.reader import KafkaReader
from stream.kafka.settings import KafkaSettings
from stream.log import Record
from stream.topics import topics
from tests.faults.process import ServiceProcess, wait_until
from tests.kafka.worker_process import N_PARTITIONS, WorkerProcess

LENGTH = 255  # of a sequence: all that a user does in a test is shown
SETTINGS = {"SEQUENCE_LENGTH": str(LENGTH), "PARTITIONS": str(N_PARTITIONS)}
LAGS = ("freshet_consumer_lag_records{", "freshet_worker_lag_records{")
ROLES = "freshet_role_step_age_seconds{"
NEVER_IDLE_S = "86400"  # what the stream clock waits for stays away in these tests, and comes late
SUPERVISE_S = 0.2


class Site:
    """Processes of one test.

    Args:
        broker: Where the topics are, under a prefix of their own.
        folder: For data and for what processes print.
    """

    def __init__(self, broker: Cluster, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.prefix = f"f{uuid4().hex[:10]}-"
        self.kafka = KafkaSettings(tuple(broker.addresses.split(",")), self.prefix)
        self.url = f"kafka://{broker.addresses}/{self.prefix}"
        self.alive: list[ServiceProcess] = []  # replicas that must answer
        self.workers: list[WorkerProcess] = []  # started again when they end, as a supervisor would
        self.n_restarts = 0  # of workers
        self._services: list[ServiceProcess] = []
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    def __enter__(self) -> "Site":
        self._supervisor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._supervisor.join()
        for process in (*self._services, *self.workers):
            process.kill()

    # Processes --------------------------------------------------------------------------------------------------

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

    def kill(self, replica: ServiceProcess) -> None:
        """SIGKILL, and start it again, as a supervisor would; nobody asks it before `wait_until_back`."""
        self.alive.remove(replica)
        replica.kill()
        replica.spawn()

    def wait_until_back(self, replica: ServiceProcess) -> None:
        """Until it answers and is asked again."""
        replica.wait_until_serving()
        self.alive.append(replica)

    def start_workers(self, *names: str) -> list[WorkerProcess]:
        """Workers that handle records, and are started again whenever they end."""
        workers = [self.start_worker(name) for name in names]
        wait_until(lambda: all(handled(worker) for worker in workers), f"{len(workers)} workers share the users")
        return workers

    def start_worker(self, name: str) -> WorkerProcess:
        """A worker that may not handle records yet."""
        worker = WorkerProcess(self, name, {"WORKER_IDLE_S": NEVER_IDLE_S}).start()
        self.workers.append(worker)
        return worker

    def remove(self, worker: WorkerProcess) -> None:
        """For good."""
        self.workers.remove(worker)
        worker.kill()

    def wait_until_handled(self) -> None:
        """Until workers handle every partition."""
        wait_until(
            lambda: sorted(p for worker in self.workers for p in handled(worker)) == list(range(N_PARTITIONS)),
            "workers handle all partitions",
        )

    def _supervise(self) -> None:
        while not self._stopping.wait(SUPERVISE_S):
            for worker in list(self.workers):
                if worker.process is not None and worker.process.poll() is not None:
                    worker.start()
                    self.n_restarts += 1

    # What is there ----------------------------------------------------------------------------------------------

    def wait_until_nothing_lags(self) -> None:
        """Until every role of every process that runs says it has read all there is."""
        if self.workers:
            self.wait_until_handled()
        urls = [service.url for service in self._services if service.is_running]
        urls += [f"http://127.0.0.1:{one.port}" for one in self.workers]
        wait_until(lambda: all(_is_level(url) for url in urls), "lag returns to zero")

    def log(self) -> KafkaLog:
        """To write and read as processes do; to be closed."""
        return KafkaLog(self.kafka, topics(N_PARTITIONS))

    def read(self, topic: str) -> list[Record]:
        """Every record of a topic, in order within a partition."""
        with closing(self.log()) as log, closing(log.reader(topic, partitions=list(log.ends(topic)))) as reader:
            records: list[Record] = []
            wait_until(lambda: _read_on(reader, records), f"{topic} is read to its end")
            return records


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


def _read_on(reader: KafkaReader, records: list[Record]) -> bool:
    records += reader.poll(max_records=5_000, timeout_s=0.2)
    return not any(reader.lag().values())


def _is_level(url: str) -> bool:
    """Whether every role of a process has told its lag, and it is zero."""
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    n_roles = sum(line.startswith(ROLES) for line in lines)
    lags = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(LAGS)]
    return len(lags) >= n_roles and not any(lags)  # a role that does not read tells no number, which is not zero
