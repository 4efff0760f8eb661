"""moto's server with a clock that is some seconds away from the machine's, so that it hands out tokens of another time.

usage: moto_at.py PORT SECONDS
"""

import sys
import time

port, seconds = sys.argv[1], int(sys.argv[2])
machine = time.time
time.time = lambda: machine() + seconds

from moto.server import main  # noqa: E402  the clock is set before anything reads it

main(["--host", "127.0.0.1", "--port", port])
