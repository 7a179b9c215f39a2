"""Which assets are out of date, from what Dagster itself recorded of them.

Belongs here: comparing versions. Does not: materializing (``materialize``), making versions
(``defs.versions``). An asset is fresh when it was made by today's code from the versions its inputs
have now.
"""

from collections.abc import Mapping

import dagster as dg

CODE_VERSION = "dagster/code_version"
DATA_VERSION = "dagster/data_version"
INPUT_VERSION = "dagster/input_data_version/"


def _tags(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, str]:
    event = instance.get_latest_materialization_event(key)
    if event is None or event.asset_materialization is None:
        return {}
    return event.asset_materialization.tags or {}


def stale_assets(
    instance: dg.DagsterInstance, assets: dg.Definitions, keys: set[dg.AssetKey]
) -> set[dg.AssetKey]:
    """Of ``keys`` those that must be made again, and all that is made from them.

    Args:
        keys: Assets to ask about; what they are made from and is not among them counts as made.
    """
    graph = assets.resolve_asset_graph()
    stale: set[dg.AssetKey] = set()
    for level in graph.toposorted_asset_keys_by_level:
        for key in level:
            if key not in keys:
                continue
            node, tags = graph.get(key), _tags(instance, key)
            versions = {
                parent: _tags(instance, parent).get(DATA_VERSION) for parent in node.parent_keys
            }
            is_fresh = tags.get(CODE_VERSION) == node.code_version and all(
                parent not in stale
                and tags.get(f"{INPUT_VERSION}{parent.to_user_string()}") == version
                for parent, version in versions.items()
            )
            if not is_fresh:
                stale.add(key)
    return stale
