"""The files of a bundle: reading them safely, their protocol, signatures, stores with channels.

Belongs here: bytes and names. Does not: what is in a bundle (``bundle``), following one (``live``).
Source: docs/bundles.md.
"""
