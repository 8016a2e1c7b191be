"""Sources and sinks: where rows come from and where answers go.

source.py   `open_source`, and the `Source` protocol          sink.py   `open_writer`, and the `Writer` protocol
stream.py   batches of an exact size out of any pieces        sizes.py  bytes a row, to bound what a writer holds
fitted.py   batches in the types of a schema                  parts.py  parts that differ, as one
files.py    paths, patterns, folders, URLs, fingerprints      faults.py rows that could not be read
reading.py  how text is read, as UTF-8                 records.py    where records of CSV end
cells.py    texts as values of a type                  keys.py       what the keys of JSON Lines are
jsontext.py JSON that is kept as it was written
arrow/      between stored columns and the columns of a graph
as_text.py  what CSV and JSON Lines write for a value         write_csv.py write_jsonl.py
parquet.py ipc.py csv.py jsonl.py images.py dataset.py memory.py frames.py foreign.py groups.py    one kind of source a file
"""

from motet.io.arrow import arrow_type, check_fits, from_column, is_image, natural_kind, to_column
from motet.io.faults import ERROR_COLUMN, split_faults
from motet.io.frames import as_table, describe, is_frame, with_index
from motet.io.sink import Writer, open_writer
from motet.io.source import Source, open_source

__all__ = [
    "ERROR_COLUMN",
    "Source",
    "Writer",
    "arrow_type",
    "as_table",
    "check_fits",
    "describe",
    "from_column",
    "is_frame",
    "is_image",
    "natural_kind",
    "open_source",
    "open_writer",
    "split_faults",
    "to_column",
    "with_index",
]
