"""Results that are kept: found by content, written in formats of their own, verified before they are taken again.

cache.py      entries by key      key.py  what a key is made of, and what differs between two
artifacts.py  files by digest     encode.py, trees.py, codecs.py  how values become files; content.py  what they hold;
              named.py  code that files name; checkout.py  where files are read
locks.py      one writer a key    index.py, gc.py  what is there, and what may go; base.py  SQLite
"""
