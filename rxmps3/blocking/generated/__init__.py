"""What of the blocking face only delegates, written by ``python -m tests.generate_blocking``."""
