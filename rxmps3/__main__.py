"""``python -m rxmps3`` is the command ``rxmps3``."""

from rxmps3.cli import main

if __name__ == "__main__":
    main()
