"""Two processes play with one database: a demonstration that checks what it shows."""
