"""Why a decision came out as it did, from a bundle or from its record, for people and programs.

Belongs here: the explanation, its words and its page. Does not: deciding. Spec: section 10.2.
"""
