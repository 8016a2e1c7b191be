"""Tables of databases: rows written by their ids, and searched by their vectors.

address.py     `lancedb:///folder#reviews`: which table of which database
layout.py      which columns of rows are id, vectors and payload, and which rows a table cannot take
table.py       the protocol of a table: `prepare`, `upsert`, `search`
opening.py     which module has that of which database
matching.py    whether rows may be written into a table that is there
query.py       rows of tables and queries, read in an order
copying.py     rows in PostgreSQL's binary form
filters.py     which rows of a table a search may find
fusion.py      what several searches have found, as one list
retry.py       calls of a server made again, within a bound
lance.py ...   one database a file (alchemy.py: those of SQLAlchemy); each imports its client when a table is opened
"""

from motet.databases.address import TableAddress, is_table

__all__ = ["TableAddress", "is_table"]
