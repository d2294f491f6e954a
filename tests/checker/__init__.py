"""An independent check of real runs: real processes, real S3 servers, a bad network, and no code of the package.

::

    python -m tests.checker --server seaweedfs --protocol sequenced --minutes 2
    python -m tests.checker --server ministack --protocol mps3 --nemesis damage --nemesis kill --seed 7

Several processes write to one database (`client`), each through a proxy of its own (`proxy`) while something bad
happens (`nemeses`). Each records what it was asked to write, what it was told and what it was shown (`trace`).
Afterwards the bucket is read with boto3, or as plain files, and each of the three logs is folded as its specification
in ``docs/`` says (`logs`); what the clients recorded is compared with that (`verdicts`), and also judged without any
log, by its causality alone (`causality`).

Only `client` imports the package, and only its public names.
"""
