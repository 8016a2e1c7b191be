"""A broker of Kafka for tests: one process on loopback that is its own controller, with what it keeps in a folder."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers.until import until

JARS = Path(sys.prefix) / "engines" / "kafka"
JAVA = ("-Xms128m", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dlog4j2.level=ERROR")
PARTITIONS = 3
SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={folder}/data
num.partitions={partitions}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
log.retention.ms=-1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""


class KafkaBroker:
    """A broker; started when it is made.

    Args:
        folder: where it keeps everything.

    Attributes:
        address: its host and port.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        from confluent_kafka.admin import AdminClient

        port, controller = _free_ports(2)
        self.address = f"127.0.0.1:{port}"
        self._admin: Any = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        settings = SETTINGS.format(port=port, controller=controller, folder=folder, partitions=PARTITIONS)
        self._settings = folder / "server.properties"
        self._settings.write_text(settings)
        cluster = uuid.uuid4().hex[:22]
        self._java("kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(self._settings)).wait()
        self.start()

    def start(self) -> None:
        """Begin, and wait until it answers."""
        self._process = self._java("kafka.Kafka", str(self._settings))
        until(self._answers, 60)

    def _answers(self) -> bool:
        from confluent_kafka import KafkaException

        assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
        try:
            return bool(self._admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        java = shutil.which("java")
        assert java is not None
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [java, *JAVA, "-cp", f"{JARS}/*", *arguments], stdout=log, stderr=log, cwd=self._folder
            )

    def topics(self, *names: str, partitions: int = PARTITIONS) -> None:
        """Make topics."""
        from confluent_kafka.admin import NewTopic

        made = self._admin.create_topics([NewTopic(name, partitions, 1) for name in names])
        for each in made.values():
            each.result(10)

    def members(self, group: str) -> int:
        """How many of a group have partitions."""
        found = self._admin.describe_consumer_groups([group])[group].result(10)
        return sum(bool(each.assignment.topic_partitions) for each in found.members)

    def send(self, topic: str, messages: Sequence[Mapping[str, Any]]) -> None:
        """Produce messages, given as the arguments of `Producer.produce`."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.address, "linger.ms": 1})
        for message in messages:
            producer.produce(topic, **message)
            producer.poll(0)
        assert producer.flush(20) == 0

    def read(self, topic: str) -> list[Any]:
        """All messages of a topic that readers of committed ones see, by partition and offset."""
        from confluent_kafka import Consumer, KafkaError, TopicPartition

        consumer = Consumer(
            {
                "bootstrap.servers": self.address, "group.id": uuid.uuid4().hex, "isolation.level": "read_committed",
                "auto.offset.reset": "earliest", "enable.partition.eof": True, "enable.auto.commit": False,
            }
        )  # fmt: skip
        partitions = consumer.list_topics(topic, 10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        found, ended = [], set()
        while len(ended) < len(partitions):
            for message in consumer.consume(1000, 1.0):
                if message.error() is None:
                    found.append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
        consumer.close()
        return sorted(found, key=lambda each: (each.partition(), each.offset()))


def need_kafka() -> None:
    """Skip what needs a broker where none can be had.

    Where engines must be there (MOTET_TEST_ENGINES), that fails.
    """
    pytest.importorskip("confluent_kafka")
    missing = (
        "java" if shutil.which("java") is None else f"{JARS}, which make engines fetches" if not JARS.exists() else ""
    )
    if missing:
        (pytest.fail if os.environ.get("MOTET_TEST_ENGINES") else pytest.skip)(f"there is no {missing}")


def _free_ports(count: int) -> list[int]:
    """Ports that the system gives to nobody who asks for any, so that they are free again after a broker was killed."""
    found = []
    for port in random.sample(range(20_000, 30_000), 1000):
        with socket.socket() as each, contextlib.suppress(OSError):
            each.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            break
    return found
