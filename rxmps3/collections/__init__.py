"""Live queries, kept up to date at the cost of what changed: pure operators on changes of keyed rows, and their graph.

The theory is differential dataflow (McSherry, Murray, Isaacs, Isard, CIDR 2013) and DBSP (Budiu et al., VLDB 2023),
with rows that have keys. An operator takes the changes of its inputs in one step and gives those of its output; its
law is that the changes it has given add up to the same query over the whole content of its inputs.
"""
