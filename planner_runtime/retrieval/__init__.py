"""Finding similar runs: what similar means, columns and bitmaps of runs, exact search.

Belongs here: the parts of ``similar_runs``. Does not: which runs there are. Spec: section 5.2.
"""
