"""Bundles into a store: copied, verified where they are going to lie, and moved into place whole.

Belongs here: publishing. Does not: which bundle is in use (``planner_runtime.bundles.channels``),
writing bundles (``bundle_writer``, ``outcome_bundle``). Source: reference/reliability.md 1.
"""

import os
import shutil
from pathlib import Path

from planner_runtime.bundle import NO_TRUST, Bundle, Trust
from planner_runtime.bundles.channels import bundle_folder
from planner_runtime.bundles.files import read_files
from planner_runtime.planner import load_bundle
from planner_runtime.whole_files import sync_directory, write_synced


def publish_bundle(folder: Path, store: Path, *, trust: Trust = NO_TRUST) -> Bundle:
    """Put a bundle into a store, under its id; one that is there already is verified instead.

    Args:
        trust: Whose signature it has to carry.

    Returns:
        The bundle as it was read from the store.

    Raises:
        BundleError: it must not serve; the store is then left as it was.
    """
    bundle, _ = load_bundle(folder, trust=trust)
    place = bundle_folder(store, bundle.manifest.bundle_id)
    if place.exists():
        return load_bundle(place, trust=trust)[0]
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = place.with_name(f".{place.name}.{os.getpid()}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        for name, data in read_files(folder).data.items():
            write_synced(staging / name, data)
        load_bundle(staging, trust=trust)
        sync_directory(staging)
        try:
            os.rename(staging, place)
        except OSError:
            if not place.is_dir():  # else somebody else published the same bundle meanwhile
                raise
        sync_directory(place.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return load_bundle(place, trust=trust)[0]
