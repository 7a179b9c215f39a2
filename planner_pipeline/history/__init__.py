"""Records -> runs, summaries and planner inputs, as they were known at the time.

Belongs here: putting the parts of a run together and saying which file each fact came from.
Does not: reading files (``sources``), choosing examples and splits (``dataset``).
"""
