"""A demonstration: two processes share a database, and what they report is checked."""
