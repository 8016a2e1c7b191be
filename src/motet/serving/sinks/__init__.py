"""Answers are kept: sinks on the serving path, off the response path.

sinks.py    `Sinks`: all of a server                targets/    databases, JSON Lines, Parquet
layout.py   what is kept of a graph's rows          hook.py     between a batcher and the sinks
intake.py   lets answers in, and lets them wait     items.py    what waits, as references to arrays
buffer.py   the bounded queue where it waits        rejected.py what cannot be written
convert.py  from items to records                   records.py  what is written, by column
writer.py   the thread of one sink                  spool.py    the file for what cannot be written now
stats.py    what became of records

What may be relied on: a record that was accepted (not counted as dropped) is written, or is in the spool, or was only in
memory when its process was killed. A sink with `durable: true` lets no answer go before its records are on disk. A record
stands in a database once, however often it is written; in JSON Lines a batch may be there twice after a crash in the
middle of reading a spool, and its ids tell.
"""

from motet.serving.config.sinks import SinkConfig, read_sinks
from motet.serving.sinks.hook import SinkHook
from motet.serving.sinks.sinks import Sinks
from motet.serving.sinks.stats import SinkStats

__all__ = ["SinkConfig", "SinkHook", "SinkStats", "Sinks", "read_sinks"]
