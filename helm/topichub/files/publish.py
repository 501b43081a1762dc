"""Publishes through the API and waits until a subscriber has received it: python publish.py URL TOPIC CONFIG.

The subscriber has HUB_TOKEN, or a token signed with the configuration's secret; the publisher shows HUB_API_KEY, or
else that token. Ends with status 1 when nothing was received in time.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from threading import Timer

SECONDS = 30


def hub(*words: str) -> str:
    """Runs a command of the hub, whose complaints go to standard error, and returns what it prints."""
    done = subprocess.run(["hub", *words], stdout=subprocess.PIPE, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        sys.exit(f"hub {words[0]} failed")
    return done.stdout


def main(url: str, topic: str, config: str) -> None:
    """Subscribes, publishes, and waits."""
    os.environ["HUB_URL"] = url
    if not os.environ.get("HUB_TOKEN"):
        made = hub("token", "create", "--config", config, "--sub", "helm-test", "--topics", topic)
        os.environ["HUB_TOKEN"] = made.splitlines()[-1]
    mark = secrets.token_hex(8)
    subscribe = ["hub", "subscribe", topic, "--since", "0"]
    with subprocess.Popen(subscribe, stdout=subprocess.PIPE, text=True) as heard:
        alarm = Timer(SECONDS, heard.kill)
        alarm.start()
        try:
            hub("publish", topic, mark)
            received = any(mark in line for line in heard.stdout or ())
        finally:
            alarm.cancel()
            heard.kill()
    if not received:
        sys.exit(f"{topic}: published, but not received within {SECONDS} s")
    print(f"{topic}: published and received")


if __name__ == "__main__":
    main(*sys.argv[1:])
