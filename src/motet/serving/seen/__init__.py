"""What is seen of a server from outside: metrics, the numbers of the page, logs, traces.

config.py      the key `seen` of serve.yaml
buckets.py     the bounds of histograms, and quantiles from them
cells.py       the numbers of one process, in a file that the other processes of the server read
errors.py      the last errors of one process, in such a file too
totals.py      sums over all processes, also those that died
metrics.py     what is counted for a graph, over HTTP and over gRPC
published.py   what nodes, models and the process itself have counted, copied to where others can read it
exposition.py  the text that Prometheus reads
status.py      rates, latencies and errors of the last seconds, and Triton's statistics
writer.py      files of lines, written by one thread
log.py         the access log
server_log.py  what the server itself says: lines of text or JSON
said.py        what it says of requests that fail and of queues that are full
trace.py       OpenTelemetry spans
seen.py        all of it together, as a server wires it

The hot path writes into an array; everything else happens when somebody asks.
"""
