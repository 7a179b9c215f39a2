"""The Dagster edge: assets, checks, resources, io managers, jobs.

Belongs here: doorways of about fifteen lines. Does not: work; every asset calls one function of
the packages below. These files never postpone annotations: Dagster reads the real types.
"""
