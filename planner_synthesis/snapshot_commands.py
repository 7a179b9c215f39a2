"""Commands that make snapshots: from MCP servers, A2A agents, CCOS exports and snapshots.

Belongs here: sources from arguments, writing, what is said of it.
Does not: reading registries (``snapshot``).
Source: issue 8, "CLI"; exit code 1 where a source as a whole could not be read.
"""

import argparse
from collections.abc import Sequence

from planner_synthesis.command_inputs import (
    BadInput,
    mcp_server,
    print_json,
    read_headers,
    read_variables,
    tell_rows,
)
from planner_synthesis.snapshot.a2a import A2aCards
from planner_synthesis.snapshot.ccos import CcosExport
from planner_synthesis.snapshot.files import SnapshotFile, canonical_snapshot, write_snapshot
from planner_synthesis.snapshot.mcp import server_name
from planner_synthesis.snapshot.reading import RegistrySource, read_registries


def snapshot_mcp(args: argparse.Namespace) -> int:
    """List the tools of one MCP server."""
    if bool(args.stdio) == bool(args.http):
        raise BadInput("snapshot mcp takes either --stdio or --http")
    name = args.name or server_name(command=args.stdio or "", url=args.http or "")
    server = mcp_server(
        name,
        stdio=args.stdio,
        url=args.http,
        env=read_variables(args.env),
        headers=read_headers(args.header_env),
        trust_tier=args.trust,
        are_hints_trusted=args.trust_hints,
        timeout_s=args.timeout_s,
    )
    return _write([server], args)


def snapshot_a2a(args: argparse.Namespace) -> int:
    """Read A2A agent cards."""
    try:
        sources = [
            A2aCards(location=location, trust_tier=args.trust, timeout_s=args.timeout_s)
            for location in args.location
        ]
    except ValueError as error:
        raise BadInput(str(error)) from error
    return _write(sources, args)


def snapshot_ccos(args: argparse.Namespace) -> int:
    """Read CCOS exports."""
    return _write([CcosExport(path=path, highest_tier=args.trust) for path in args.file], args)


def snapshot_merge(args: argparse.Namespace) -> int:
    """Put snapshot files together."""
    return _write([SnapshotFile(path) for path in args.file], args)


def _write(sources: Sequence[RegistrySource], args: argparse.Namespace) -> int:
    reading = read_registries(sources)
    tell_rows(reading.quarantine)
    if args.out:
        digest = write_snapshot(args.out, reading.snapshot())
        print_json(
            {
                "out": str(args.out),
                "sha256": digest,
                "n_capabilities": len(reading.capabilities),
                "n_agents": len(reading.agents),
                "n_left_out": sum(row.is_left_out for row in reading.quarantine),
            }
        )
    else:
        print_json(canonical_snapshot(reading.snapshot()))
    has_failed = any(row.kind == "source" and row.is_left_out for row in reading.quarantine)
    return 1 if has_failed else 0
