"""A worker's end of the line: a command a line of JSON on stdin, its answer a line of JSON on stdout."""

import json
import os
import sys


def serve(make, arguments):
    """Makes a server from its arguments, JSON, and answers commands with its public methods until stdin ends."""
    # What libraries print must not get in among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = make(**json.loads(arguments))
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(server, command.pop("do"))(**command)
        print(json.dumps(answer), file=answers, flush=True)
