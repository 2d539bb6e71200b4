"""`python -m tests.surface`: write the frozen surface."""

from tests.surface.collect import main

main()
