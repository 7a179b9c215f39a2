"""A process of its own that answers questions over a Unix socket, and its clients.

Belongs here: the server, what goes over the wire, who stands in for a planner. Does not: deciding.
Source: docs/sidecar.md.
"""
