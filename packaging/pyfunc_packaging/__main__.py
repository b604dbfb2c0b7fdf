"""``python -m pyfunc_packaging`` is ``pyfunc``."""

from pyfunc_packaging.cli import main

if __name__ == "__main__":
    main(prog_name="pyfunc")
