"""Bytes on disk -> typed records, or a quarantine row that says why not.

Belongs here: one reader per kind of artifact, tolerant where the kernel's formats are.
Does not: what the records mean together (``history``). Source: reference/cyntra-formats.md.
"""
