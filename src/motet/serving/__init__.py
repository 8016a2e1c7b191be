"""The gateway: serves graphs over HTTP and gRPC.

request.py    what a protocol hands to the gateway, and what it gets back
gateway.py    what is served, by name; loading, unloading, readiness, draining
lane.py       one served graph: a bounded queue, one batch a tick, an answer for each request alone
wire/         the Open Inference Protocol's tensors, as JSON and as bytes
http/         HTTP/1.1: the connection, the inference routes, everything else as an ASGI application
grpc/         the Open Inference Protocol over gRPC
admission/    who asks, and how much they may ask; the audit log
seen/         metrics, access log, traces
sinks/        answers that are kept
page/         the page for people
answers.py    answers that are given again
together.py   what one process loads, all load
services.py   what is done for every request beside playing it
visits.py     a request that was let in
config.py     serve.yaml
server.py     one process: sockets, signals, draining
supervisor.py several processes that share the ports
"""
