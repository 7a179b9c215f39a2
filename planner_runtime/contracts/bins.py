"""The values of version 1, as types: what a contract may say and nothing else.

Belongs here: literal types of bins, and integers that JSON can carry.
Does not: which combinations are valid (``actions``).
Spec: section 4.1.
"""

from typing import Annotated, Literal

import msgspec

CandidatesBin = Literal[1, 2, 3, "NA"]
MinutesBin = Literal[15, 30, 45, 60, 120, "NA"]
IterationsBin = Literal[1, 2, 3, 5, "NA"]
Bin = int | Literal["NA"]
LoadBin = Literal["0", "1_2", "3_5", "6_plus"]
# integers that survive every JSON reader: RFC 7493
SafeInt = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
SafeCount = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
