"""What can a storage do, and what does that mean for rxmps3?

`examine` tries everything that the protocols rest on, under `PROBE_PREFIX` and outside every manifest,
and removes what it wrote. `rxmps3.cli.doctor.verdicts` judges what it found, without I/O.
"""

from __future__ import annotations

from rxmps3.cli.doctor.examine import examine
from rxmps3.cli.doctor.facts import Facts
from rxmps3.cli.doctor.under_test import StorageUnderTest
from rxmps3.cli.doctor.verdicts import PROTOCOLS, Report, Row, State, Suitability, judge

__all__ = ["PROTOCOLS", "Facts", "Report", "Row", "State", "StorageUnderTest", "Suitability", "examine", "judge"]
