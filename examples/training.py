"""Trainings on several machines, and a page that shows how they get on and stops the ones that go nowhere.

    pip install 'rxmps3[web]'
    python examples/training.py watch file:lab                     # the page
    python examples/training.py run file:lab slow --rate 0.02      # in other terminals, as many as you like
    python examples/training.py run file:lab fast --rate 0.5

s3://BUCKET/PREFIX works the same, from any number of machines. A training puts its losses under a key of its own and
never waits for that; what piles up while one commit is on its way goes into the next one.
"""

import argparse
import asyncio
import math
import random
import sys
from pathlib import Path

import rxmps3

PAGE = Path(__file__).with_name("training.html")
KEPT = 240  # of the losses, for the curve


async def watch(url, port):
    try:
        from rxmps3.homes.web import serve_page
    except ImportError as error:
        sys.exit(f"{error}: pip install 'rxmps3[web]'")
    async with rxmps3.connect(url, by="watch", live=True, poll=0.3) as db:
        await serve_page(db, PAGE.read_text("utf-8"), "lab/", write=True, port=port)


def sample(chance, size):
    """Points of two noisy clouds, and which cloud each is of."""
    clouds = [chance.randrange(2) for _ in range(size)]
    return [(chance.gauss(cloud, 1), chance.gauss(-cloud, 1), cloud) for cloud in clouds]


def probability(weights, x, y):
    a, b, c = weights
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, a * x + b * y + c))))


def loss(weights, points):
    """The cross-entropy of a logistic regression, in nats a point."""
    return -sum(math.log(p if cloud else 1 - p) for x, y, cloud in points for p in [probability(weights, x, y)]) / len(
        points
    )


def step(weights, points, rate):
    """One step down the gradient."""
    a, b, c = weights
    for x, y, cloud in points:
        wrong = (cloud - probability(weights, x, y)) * rate / len(points)
        a, b, c = a + wrong * x, b + wrong * y, c + wrong
    return a, b, c


async def run(url, name, rate, steps, pause):
    chance = random.Random(name)
    test, weights, losses = sample(chance, 200), (-3.0, 3.0, 2.0), []
    async with rxmps3.connect(url, by=name, live=True, poll=0.3) as db:
        report, stop = db.key(f"lab/run/{name}"), db.key(f"lab/stop/{name}", default=False)
        await db.delete(f"lab/stop/{name}")
        for number in range(1, steps + 1):
            weights = step(weights, sample(chance, 8), rate)
            losses = [*losses, round(loss(weights, test), 4)][-KEPT:]
            state = "stopped" if stop.value else "finished" if number == steps else "running"
            report.put({"state": state, "step": number, "of": steps, "rate": rate, "losses": losses})
            if state == "stopped":
                break
            await asyncio.sleep(pause)
    print(f"{state} after {number} steps with a loss of {losses[-1]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    watching, running = commands.add_parser("watch"), commands.add_parser("run")
    for command in (watching, running):
        command.add_argument("url")
    watching.add_argument("--port", type=int, default=8000)
    running.add_argument("name")
    running.add_argument("--rate", type=float, default=0.1, help="of learning")
    running.add_argument("--steps", type=int, default=1000)
    running.add_argument("--pause", type=float, default=0.1, metavar="SECONDS", help="between two steps")
    options = vars(parser.parse_args())
    command = {"watch": watch, "run": run}[options.pop("command")]
    try:
        asyncio.run(command(**options))
    except rxmps3.Error as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
