"""What this machine, or the container that it seems to be, lets a process have.

limits.py       cores and memory, as control groups limit them
places.py       folders for what is kept, and for what is needed for a while
whole_files.py  files that are written whole or not at all; created_files.py: only where there is none, in stores
progress*.py    how far work is, told on a terminal, in a notebook or as lines of a log
incidents.py    what goes wrong around answers, as lines of the log that are counted
html.py         tables for notebooks
line_writer.py  files of lines, written by one thread; rotating_file.py: one that several processes append to
streams.py      the standard streams, where they are closed or nobody reads them
lifeline.py     processes that end with the one that has started them
processes.py    what is known of processes from outside
addresses.py    addresses of hosts in URLs
server_events.py  server-sent events, read from their bytes
tls.py          what TLS is spoken with, of files of certificates
secrets.py      what is secret, for messages, and how it is sent
sockets.py      sockets that only this user's processes can reach
recent.py       what was asked for lately
garbage.py      when a program of ours looks for garbage
"""
