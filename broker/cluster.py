"""One node, or several that replicate: started together, stopped together, faulted one by one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.jars import jars
from broker.node import Node, NodeSettings, free_port


class Cluster:
    """Nodes on loopback, their data in one folder.

    Args:
        folder: A sub-folder for each node.
        cache: Where the Java libraries are kept.
        ports: For clients, one a node; None takes a free one for a single node.
        properties: Further server properties of every node.

    Raises:
        BrokerError: Java, Maven or a library is missing.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cache: Path,
        ports: list[int] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        libraries = jars(cache).resolve()
        for_clients = dict(enumerate(ports or [free_port()], start=1))
        between_nodes = {node_id: free_port() for node_id in for_clients}
        self.nodes = [
            Node(
                NodeSettings(node_id, for_clients, between_nodes, properties or {}),
                (folder / f"node-{node_id}").resolve(),
                libraries,
            )
            for node_id in for_clients
        ]

    @property
    def addresses(self) -> str:
        """As clients want it: host:port, separated by commas."""
        return ",".join(node.address for node in self.nodes)

    def start(self, after_each: Callable[[Sequence[Node]], None] | None = None) -> None:
        """Start every node and wait until all answer; where one does not, none is left running.

        Args:
            after_each: given the nodes whose processes run by now, each time one more does.

        Raises:
            BrokerError: one does not.
        """
        try:
            for n_started, node in enumerate(self.nodes, start=1):
                node.start()
                if after_each is not None:
                    after_each(self.nodes[:n_started])
            for node in self.nodes:
                node.wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ask all nodes to end, and wait for them."""
        for node in self.nodes:
            node.ask_to_stop()
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
