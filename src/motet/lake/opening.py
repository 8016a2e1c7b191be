"""Which module has the tables of which kind; each imports its package when one is opened."""

from __future__ import annotations

from motet.lake.address import LakeAddress
from motet.lake.table import LakeTable

__all__ = ["open_lake_table"]


def open_lake_table(address: LakeAddress) -> LakeTable:
    """The table of an address; nothing is made or connected before it is asked for something.

    Raises:
        MissingExtraError: when its package is not installed.
    """
    match address.scheme:
        case "delta":
            from motet.lake.delta import DeltaLakeTable

            return DeltaLakeTable(address)
        case "bigquery":
            from motet.lake.bigquery import BigQueryTable

            return BigQueryTable(address)
    from motet.lake.iceberg import IcebergTable

    return IcebergTable(address)
