"""The budget bins of version 1, as types: what a contract may say and nothing else.

Belongs here: literal types of the bins. Does not: which combinations are valid (``actions``).
Spec: section 4.1.
"""

from typing import Literal

CandidatesBin = Literal[1, 2, 3, "NA"]
MinutesBin = Literal[15, 30, 45, 60, 120, "NA"]
IterationsBin = Literal[1, 2, 3, 5, "NA"]
Bin = int | Literal["NA"]
