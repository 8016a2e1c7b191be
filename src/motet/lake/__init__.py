"""Tables of a lake or a warehouse: read as they are at one version, and written to in one transaction.

address.py    `delta:sales`, `iceberg://catalog/shop.sales`, `bigquery://project/dataset/table`
table.py      the protocol of a table: what it holds, and `commit`, which adds rows once
types.py      what rows must be to be held, and which are not
opening.py    which module has the tables of which kind
delta.py ...  one kind a file; each imports its package when a table is opened
"""

from motet.lake.address import LakeAddress, is_lake, names_table

__all__ = ["LakeAddress", "is_lake", "names_table"]
