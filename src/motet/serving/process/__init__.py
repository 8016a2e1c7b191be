"""The processes of a server.

supervisor.py       runs a server: here, or in several processes that share its ports
server.py           one process: sockets, signals, draining
parts.py            what a process is made of beside them, put together as its configuration says
heartbeat.py        which of them hangs
repository_sync.py  what one process loads, all load
background.py       a server in a thread of another program; application.py: as an ASGI application
ray_serve.py        replicas of a server on a cluster of Ray
"""
