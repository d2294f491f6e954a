"""Where streams meet user interfaces: one module for each framework, which is imported only there.

`rxmps3.homes.web` is for FastAPI and Starlette, `rxmps3.homes.textual` for terminals, `rxmps3.homes.streamlit`,
`rxmps3.homes.panel` and `rxmps3.homes.marimo` for dashboards. Notebooks have `rxmps3.jupyter`; Tk and Qt need only
`rxmps3.blocking.UiQueue`.
"""
