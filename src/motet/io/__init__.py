"""Sources and sinks: where rows come from and where answers go.

source.py, sink.py        `open_source` and the `Source` protocol; `open_writer` and the `BatchWriter` protocol
places.py, search.py      one place under many spellings; what folders and patterns hold
hive.py                   columns that names of folders have
once.py, compression.py   what can be read once, such as standard input; text that is compressed
input_files.py            which of the files found are read
files.py, remote.py       files opened and fingerprinted; servers asked, and their errors told
content_cache.py          contents of small remote files
target.py, uploads.py     where the bytes of a file go that is not yet there; files of object stores, whole and once
read_only.py              what Arrow asks of a file of Python
stream.py, take.py        batches of an exact size out of any pieces; rows by position
splits.py                 parts of a source that workers read by themselves
marks.py, tally.py        which rows a piece is; rows of text, counted by other means than they are read
fitted.py, parts.py       batches in the types of a schema; parts that differ, as one
groups.py                 sources put together by the value of a column
cutter.py, sizes.py       groups of rows that a writer writes at once; bytes a row, to bound what it holds
faults.py                 rows that could not be read
read_options.py, utf8.py  how sources are read; text of any encoding as UTF-8
text.py, cells.py         what sources of text share; texts as values of a type
records.py                where records of CSV end
keys.py, jsontext.py      what the keys of JSON Lines are; JSON that is kept as it was written
as_text.py, lines.py      what CSV and JSON Lines write for a value; rows of text as the bytes that they are
arrow/                    between stored columns and the columns of a graph
parquet.py ipc.py csv.py jsonl.py images.py dataset.py memory.py frames.py foreign.py sql.py    one kind of source a file
delta.py iceberg.py       one kind of table of a lake a file, as source
renamed.py                files whose columns their table calls otherwise
datasets.py               data sets of Hugging Face
write_csv.py write_jsonl.py                                                              the writers of text
"""

from motet.io.arrow import arrow_type, check_fits, from_column, is_image, natural_kind, to_column
from motet.io.faults import ERROR_COLUMN, split_faults
from motet.io.fitted import check_readable
from motet.io.frames import as_stored, frame_name, is_frame, with_index
from motet.io.memory import table_of
from motet.io.sink import BatchWriter, open_writer
from motet.io.source import Source, open_source

__all__ = [
    "ERROR_COLUMN",
    "BatchWriter",
    "Source",
    "arrow_type",
    "as_stored",
    "check_fits",
    "check_readable",
    "frame_name",
    "from_column",
    "is_frame",
    "is_image",
    "natural_kind",
    "open_source",
    "open_writer",
    "split_faults",
    "table_of",
    "to_column",
    "with_index",
]
