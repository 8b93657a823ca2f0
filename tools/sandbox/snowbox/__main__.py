"""python -m snowbox"""

if __name__ == "__main__":
    # Imported here: the worker processes that convert rows load this file too, and need nothing of the rest.
    import sys

    from .application import main

    sys.exit(main())
