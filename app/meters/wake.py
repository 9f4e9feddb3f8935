"""Waking the head-end: a hint in Redis after the commit. It may be lost; the head-end's sweep is the truth."""

import logging

import redis
from sqlalchemy import event
from sqlalchemy.orm import Session

CHANNEL = "tallyhouse:headend"

log = logging.getLogger(__name__)
_client: "redis.Redis | None" = None


def use_redis(url: str) -> None:
    """Publish hints to this Redis from now on; '' publishes none."""
    global _client
    _client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) if url else None


def wake_after_commit(session: Session, *, gateway_id: int | None) -> None:
    """Once this transaction is committed, tell the head-ends that a gateway has something to do."""
    if gateway_id is None:
        return
    waiting: set[int] | None = session.info.get("headend_wakes")
    if waiting is None:
        session.info["headend_wakes"] = {gateway_id}
        event.listen(session, "after_commit", _publish, once=True)
    else:
        waiting.add(gateway_id)


def _publish(session: Session) -> None:
    gateway_ids = session.info.pop("headend_wakes", None)
    if not gateway_ids or _client is None:
        return
    try:
        _client.publish(CHANNEL, ",".join(str(gateway_id) for gateway_id in sorted(gateway_ids)))
    except redis.RedisError as lost:
        log.warning("wake hint lost: %s", lost)
