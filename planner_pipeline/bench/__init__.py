"""Best-of-K outcomes: what came of every action on one issue.

Belongs here: outcomes of actions, replayed or run, and labels from them. Does not: judging
policies by them (``evaluation``). Spec: section 9.
"""
