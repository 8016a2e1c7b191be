"""What is seen of a server from outside: metrics, the numbers of the page, logs, traces.

buckets.py     the bounds of histograms, and quantiles from them
counters.py    the numbers of one process, in a file that the other processes of the server read
errors.py      the last errors of one process, in such a file too
board.py       what each process shows the others, in a file beside its counters
totals.py      sums over all processes, also those that died
metrics.py     what is counted for a graph, over HTTP and over gRPC
publisher.py   what nodes, models and the process itself have counted, copied to where others can read it
exposition.py  the text that Prometheus reads
drift.py       whether what graphs are given and answer is spread as it was; drift_of_graphs.py: of all graphs of a process
status.py      rates, latencies and errors of the last seconds, and Triton's statistics
replicas.py    what the replicas of models are doing; places.py: what models share
access_log.py  a line for each request
server_log.py  what the server itself says: lines of text or JSON
incidents.py   what it says of requests that fail and of queues that are full
tracing.py     OpenTelemetry spans
graph_hook.py  what is seen of the batcher of one graph or model
observability.py  all of it, as a server wires it

The hot path writes into an array; everything else happens when somebody asks.
"""
