"""Incremental live queries: pure operators on changes of keyed rows, and their graph.

The theory is differential dataflow (McSherry, Murray, Isaacs, Isard, CIDR 2013) and DBSP (Budiu et al., VLDB 2023),
restricted to rows with keys. An operator takes the changes of its inputs in one step and returns those of its output.
Its law: the sum of all changes returned equals the same query over the whole content of its inputs.
"""
