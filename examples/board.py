"""A board of notes in the browser, with Streamlit: everybody who has it open sees it and adds to it.

    pip install 'rxmps3[streamlit]'
    streamlit run examples/board.py
    RXMPS3_URL=s3://BUCKET/PREFIX streamlit run examples/board.py

Streamlit runs this script again for each click of each visitor. The database is made once and kept; ``live=True`` has
it look at the bucket all the time, so a run of the script finds the latest state.
"""

import argparse
import os
import sys

try:
    import streamlit as st
except ImportError as error:
    sys.exit(f"{error}: pip install 'rxmps3[streamlit]'")

import rxmps3
from rxmps3.blocking import connect

if not st.runtime.exists():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.exit("it is a page: streamlit run examples/board.py")


@st.cache_resource
def database(url):
    return connect(url, live=True, poll=0.5)


def line(note):
    """A note as a line. Everybody may write to the bucket, so it may be anything."""
    match note:
        case {"text": str(text), "by": str(by)}:
            return f"{text} ({by})"
    return f"no note: {repr(note)[:200]}"


@st.fragment(run_every=1)
def notes():
    for key, note in db.get_prefix("note/").items():
        words, button = st.columns([8, 1], vertical_alignment="center")
        words.text(line(note))
        button.button("Done", key=key, on_click=db.delete, args=[key])


st.title("Board")
try:
    db = database(os.environ.get("RXMPS3_URL", "file:board"))
except rxmps3.Error as error:
    st.error(str(error))
    st.stop()
name = st.text_input("Your name") or "somebody"
if text := st.chat_input("A note"):
    db.put(db.new_key("note/"), {"text": text, "by": name})
notes()
