"""Writing tables of vectors: what a run's output takes for rows, beside each database's own client, in turns.

    python -m benchmarks.vectors
    python -m benchmarks.vectors --rows 50000 --rounds 5 --stores lancedb,postgresql --json vectors.json

Rows have an id, a text, a number and a vector of 384. Both sides get the same Arrow batches of 8,192 rows, write each row in the
place of the one with its id, and end when all of it is there to stay. PostgreSQL is `pgserver`'s, begun for it; Qdrant is the local
mode of its client, for which there are fewer rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from motet.databases.opening import open_table
from motet.engines.local.table_output import TableDestination, TableOutput

__all__ = ["main"]

SIZE, BATCH = 384, 8_192
FEWER = 200
"""How many times fewer rows the local mode of Qdrant gets."""
Write = Callable[[Sequence[pa.RecordBatch], str], None]


def rows_of(count: int) -> list[pa.RecordBatch]:
    """Rows in batches."""
    numbers = np.random.default_rng(7)
    vectors = numbers.standard_normal((count, SIZE)).astype(np.float32)
    table = pa.table(
        {
            "id": [f"row-{row}" for row in range(count)],
            "text": [f"what somebody wrote about number {row}" for row in range(count)],
            "price": numbers.random(count),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), SIZE),
        }
    )
    found: list[pa.RecordBatch] = table.to_batches(BATCH)
    return found


def ours(batches: Sequence[pa.RecordBatch], address: str) -> None:
    """What a run does with answers."""
    destination = TableDestination(address)
    output = TableOutput(open_table(destination.address), destination)
    output.open(batches[0].schema)
    for batch in batches:
        assert not output.refused(batch)
        output.write(batch)
    output.close()


def by_lancedb(batches: Sequence[pa.RecordBatch], address: str) -> None:
    """Merges, as LanceDB's guide has them."""
    import lancedb

    place, _, name = address.removeprefix("lancedb:").partition("#")
    table = lancedb.connect(place).create_table(name, schema=batches[0].schema)
    for batch in batches:
        merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(pa.Table.from_batches([batch]))


def by_psycopg(batches: Sequence[pa.RecordBatch], address: str) -> None:
    """A binary COPY, as pgvector's examples load vectors, into a staging table, and from there by the ids."""
    import psycopg
    from pgvector.psycopg import register_vector

    url, _, name = address.partition("#")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        columns = f"id text{{}}, text text, price double precision, embedding vector({SIZE})"
        connection.execute(f'CREATE TABLE "{name}" ({columns.format(" PRIMARY KEY")})')
        connection.execute(f"CREATE TEMP TABLE stage ({columns.format('')}) ON COMMIT DELETE ROWS")
        for batch in batches:
            vectors = batch["embedding"].flatten().to_numpy().reshape(-1, SIZE)
            others = [batch[each].to_pylist() for each in ("id", "text", "price")]
            with connection.transaction():
                with connection.cursor().copy("COPY stage FROM STDIN WITH (FORMAT BINARY)") as copy:
                    copy.set_types(["text", "text", "float8", "vector"])
                    for row in zip(*others, vectors, strict=True):
                        copy.write_row(row)
                connection.execute(
                    f'INSERT INTO "{name}" SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET text = excluded.text, '
                    "price = excluded.price, embedding = excluded.embedding"
                )


def by_qdrant(batches: Sequence[pa.RecordBatch], address: str) -> None:
    """Points in batches, as Qdrant's client has them."""
    import uuid

    from qdrant_client import QdrantClient, models

    place, _, name = address.removeprefix("qdrant:").partition("#")
    client = QdrantClient(path=place)
    params = models.VectorParams(size=SIZE, distance=models.Distance.COSINE)
    client.create_collection(name, vectors_config={"embedding": params})
    for batch in batches:
        payloads = batch.select(["id", "text", "price"]).to_pylist()
        ids: list[Any] = [str(uuid.uuid5(uuid.NAMESPACE_OID, row["id"])) for row in payloads]
        vectors = batch["embedding"].flatten().to_numpy().reshape(-1, SIZE).tolist()
        for first in range(0, len(ids), 1_000):
            part = slice(first, first + 1_000)
            points = models.Batch(ids=ids[part], vectors={"embedding": vectors[part]}, payloads=payloads[part])
            client.upsert(name, points=points, wait=True)
    client.close()


@contextmanager
def places(store: str, folder: Path) -> Iterator[str]:
    """Where the tables of a store are, without their names."""
    if store != "postgresql":
        yield f"{store}:{folder}/{{name}}"
        return
    import pgserver

    server = pgserver.get_server(f"{folder}/data")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


THEIRS: dict[str, Write] = {"lancedb": by_lancedb, "postgresql": by_psycopg, "qdrant": by_qdrant}


def compare(store: str, rows: int, rounds: int) -> dict[str, Any]:
    """Rows a second of both, the medians, and the median of the ratios of the rounds."""
    count = rows // FEWER if store == "qdrant" else rows
    batches, rates = rows_of(count), dict[str, list[float]](ours=[], theirs=[])
    with tempfile.TemporaryDirectory(prefix="vectors-", dir="/tmp") as folder, places(store, Path(folder)) as place:
        for number in range(rounds + 1):
            sides: dict[str, Write] = {"ours": ours, "theirs": THEIRS[store]}
            for side in sorted(sides, reverse=bool(number % 2)):
                name = f"{side}{number}"
                started = time.perf_counter()
                sides[side](batches, f"{place.format(name=name)}#{name}")
                if number:  # the first round warms up
                    rates[side].append(count / (time.perf_counter() - started))
    ratios = [mine / other for mine, other in zip(rates["ours"], rates["theirs"], strict=True)]
    found = {side: statistics.median(each) for side, each in rates.items()}
    return {"store": store, "rows": count, **found, "ratio": statistics.median(ratios), "ratios": ratios}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stores", default=",".join(THEIRS))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    found = [compare(store, chosen.rows, chosen.rounds) for store in chosen.stores.split(",")]
    for each in found:
        print(
            f"{each['store']:<12}{each['rows']:>8,} rows  ours {each['ours']:>9,.0f}/s  theirs {each['theirs']:>9,.0f}/s"
            f"  ratio {each['ratio']:.2f} ({min(each['ratios']):.2f} to {max(each['ratios']):.2f})"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
