"""``sign``, ``publish`` and ``rollback``: a bundle on its way to the kernels.

Belongs here: arguments, lines printed. Does not: work (``release``,
``planner_runtime.bundles.channels``). ``publish`` and ``rollback`` run on the base distribution;
``sign`` needs the extra ``sign``.
"""

import argparse
import getpass
import time
from pathlib import Path

from planner_pipeline.command_parts import print_json
from planner_pipeline.release.publish import publish_bundle
from planner_runtime.bundle import Trust
from planner_runtime.bundles.channels import promote, rollback


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def run_sign(arguments: argparse.Namespace) -> int:
    """``sign``: an OpenSSF model signature, made offline."""
    from planner_pipeline.release.signing import sign_bundle

    bundle = sign_bundle(arguments.bundle, arguments.key)
    print_json({"bundle_id": bundle.manifest.bundle_id, "signed": str(arguments.bundle)})
    return 0


def run_publish(arguments: argparse.Namespace) -> int:
    """``publish``: verified, copied into a store, and pointed at."""
    trust = Trust(public_key=arguments.public_key)
    bundle = publish_bundle(arguments.bundle, arguments.store, trust=trust)
    bundle_id = bundle.manifest.bundle_id
    promote(
        arguments.store,
        bundle_id,
        by=arguments.by,
        now_ms=_now_ms(),
        channel=arguments.channel,
    )
    told = {"bundle_id": bundle_id, "channel": arguments.channel, "signed": bundle.is_signed}
    print_json({**told, "path": bundle.path})
    return 0


def run_rollback(arguments: argparse.Namespace) -> int:
    """``rollback``: the bundle before the current one is current again."""
    pointer = rollback(arguments.store, by=arguments.by, now_ms=_now_ms())
    print_json({"bundle_id": pointer.bundle_id, "channel": "current"})
    return 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def add_bundle_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    """Add the three commands to a parser."""
    sign = commands.add_parser("sign", help="sign a bundle with an offline key")
    sign.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    sign.add_argument("--key", type=Path, required=True, metavar="PEM", help="a P-256 private key")
    sign.set_defaults(run=run_sign)
    publish = commands.add_parser("publish", help="put a bundle into a store that kernels follow")
    publish.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    publish.add_argument("--channel", choices=("current", "candidate"), default="current")
    publish.add_argument(
        "--public-key", type=Path, metavar="PEM|DIR", help="whose signature it must carry"
    )
    publish.set_defaults(run=run_publish)
    back = commands.add_parser("rollback", help="make the previous bundle of a store current")
    back.set_defaults(run=run_rollback)
    for command in (publish, back):
        command.add_argument("--store", type=Path, required=True, metavar="DIR")
        command.add_argument("--by", default=_user(), metavar="NAME", help="kept in the pointer")
