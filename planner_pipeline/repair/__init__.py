"""A toolchain without a model, and repositories with seeded bugs for it to repair.

Belongs here: mutations of Python, the search over them until the gates pass, and the workspace of
generated issues. Does not: the bench that runs it (``bench``). Spec: section 9.
"""
