"""What the kernel leaves on disk -> runs, for the kernel itself and for the pipeline.

Belongs here: reading archives, world runs, the event log and issues; making runs of them. Does not:
keeping runs (``kernel.history``), finding similar ones (``similar_runs``), tables (the pipeline).
"""
