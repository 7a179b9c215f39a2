"""Ten thousand swaps under four reader processes: nobody may see a mixture of two bundles.

Belongs here: the run over a pointer file and over a swapped link. Does not: damage (``bundles``).
Run: ``python -m tests.fuzz.swaps --n 10000``; exit code 1 when a reader met a mixture, a refusal, or
half a pointer. A short run is in the suite.

``--unpinned`` reads through the link file by file, as a reader would that does not pin: it shows
that the mixture is there to be met.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from planner_runtime.bundle import MANIFEST, MEMBERS, BundleError, read_bundle
from planner_runtime.bundles.channels import ChannelError, bundle_folder, pointed_folder, promote
from planner_runtime.bundles.protocol import parse_manifest
from planner_runtime.contracts import sha256_hex
from tests.unit.runtime.bundle_cases import write_imitation_bundle


def _unpinned(link: Path) -> str:
    manifest, _ = parse_manifest((link / MANIFEST).read_bytes())
    files = {file.path: file.sha256 for file in manifest.files}
    mixed = [n for n in MEMBERS if sha256_hex((link / n).read_bytes()) != files[n]]
    return "MIXED" if mixed else "whole"


def _one_read(store: Path, way: str, ids: tuple[str, ...]) -> str:
    try:
        if way == "unpinned":
            return _unpinned(store / "link")
        place = store / "link" if way == "link" else pointed_folder(store / "channels/current")
        bundle = read_bundle(place)
    except (BundleError, ChannelError, OSError) as error:
        return f"REFUSED {error}"
    return "whole" if bundle.manifest.bundle_id in ids else "MIXED"


def _read_on(store: Path, way: str, ids: tuple[str, ...], stop: Event, results: Any) -> None:
    counts: Counter[str] = Counter()
    while not stop.is_set():
        counts[_one_read(store, way, ids)] += 1
    results.put(counts)


def run(n: int, *, n_readers: int, folder: Path, unpinned: bool = False) -> Counter[str]:
    """What readers met during ``n`` swaps: half of them read the pointer, half follow a link."""
    ids = []
    for seed in range(2):
        bundle_id = write_imitation_bundle(folder / "made", seed=seed)
        place = bundle_folder(folder, bundle_id)
        place.parent.mkdir(exist_ok=True)
        os.rename(folder / "made", place)
        ids.append(bundle_id)

    def swap(number: int) -> None:
        bundle_id = ids[number % 2]
        promote(folder, bundle_id, by="fuzz", now_ms=number)
        (folder / "new").symlink_to(bundle_folder(folder, bundle_id))
        os.replace(folder / "new", folder / "link")

    swap(0)
    context = multiprocessing.get_context("spawn")
    stop, results = context.Event(), context.Queue()
    ways = ["unpinned"] if unpinned else ["pointer", "link"]
    readers = [
        context.Process(
            target=_read_on, args=(folder, ways[i % len(ways)], tuple(ids), stop, results)
        )
        for i in range(n_readers)
    ]
    for reader in readers:
        reader.start()
    for number in range(1, n + 1):
        swap(number)
    stop.set()
    total: Counter[str] = Counter()
    for _ in readers:
        total += results.get(timeout=60)
    for reader in readers:
        reader.join()
    return total


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="swaps under readers: none may see a mixture")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--unpinned", action="store_true")
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = run(
            arguments.n,
            n_readers=arguments.readers,
            folder=Path(folder),
            unpinned=arguments.unpinned,
        )
    for what, count in counts.most_common(10):
        print(f"{count:8}  {what[:150]}")
    n_reads, whole = sum(counts.values()), counts["whole"]
    print(
        f"fuzz swaps: {arguments.n} swaps, {arguments.readers} reader processes, {n_reads} reads, "
        f"{n_reads - whole} mixed or refused, {time.monotonic() - started:.0f} s wall"
    )
    return 1 if whole != n_reads or not whole else 0


if __name__ == "__main__":
    sys.exit(main())
