"""The studio: a database in a local web page, with the views that notebooks have."""
