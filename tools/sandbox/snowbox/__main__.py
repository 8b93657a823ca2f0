"""python -m snowbox"""

if __name__ == "__main__":
    # Imported here: a worker process that replaces a killed one loads this file too, and needs nothing of the rest.
    import sys

    from .application import main

    sys.exit(main(sys.argv[1:]))
