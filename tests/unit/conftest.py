"""Hypothesis without a deadline: a busy machine is no fault of the code."""

from hypothesis import settings

settings.register_profile("rxmps3", deadline=None, print_blob=True, max_examples=50)
settings.load_profile("rxmps3")
