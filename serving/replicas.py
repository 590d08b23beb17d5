"""GET /v1/replicas: who serves which users, for load balancers and clients that go there directly."""

from fastapi import APIRouter

from serving.openapi import problems
from serving.schemas import ReplicaOut, ReplicasOut
from serving.state import Running

router = APIRouter(tags=["health"])


@router.get("/v1/replicas", response_model=ReplicasOut, responses=problems())
async def replicas(serving: Running) -> ReplicasOut:
    """Replicas and the partitions of `events` they hold. A user's partition is murmur2 of the id, as in Kafka.

    Any replica answers for any user, by asking the one that holds the partition; going there directly saves the way.
    """
    directory = serving.parts.replicas
    return ReplicasOut(
        n_partitions=serving.n_partitions,
        held=sorted(serving.parts.sequences.held()),
        replicas=[
            ReplicaOut(name=one.name, url=one.url, partitions=list(one.partitions), ts_ms=one.ts_ms)
            for one in (directory.listed() if directory is not None else ())
        ],
    )
