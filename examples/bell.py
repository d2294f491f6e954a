"""A bell of your own: readers on one local network hear of news by UDP multicast, with no server at all.

    python examples/bell.py read URL        in one terminal
    python examples/bell.py write URL       in another

A datagram may get lost, and anyone on the network may send one. Neither matters: a bell only says "look now", and the
bucket stays the truth. --interface is this machine's address on the network; by default it stays within the machine.
"""

import argparse
import asyncio
import socket
import sys
import time

from reactivex import Observable
from reactivex.disposable import Disposable

import rxmps3

GROUP, PORT = "239.77.112.51", 47151


class LanBell:
    """Rings by multicast. A topic is 32 characters, and says nothing about the database to those who do not know it."""

    def __init__(self, interface):
        self.interface = socket.inet_aton(interface)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, self.interface)

    def ring(self, topic):
        self.sender.sendto(topic.encode(), (GROUP, PORT))

    def rings(self, topic):
        def subscribe(observer, scheduler):
            hearing = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            hearing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            hearing.bind((GROUP, PORT))
            hearing.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + self.interface)
            hearing.setblocking(False)

            def hear():
                if hearing.recv(64) == topic.encode():
                    observer.on_next(None)

            loop = asyncio.get_running_loop()
            loop.add_reader(hearing, hear)
            observer.on_next(None)  # it works

            def stop():
                loop.remove_reader(hearing)
                hearing.close()

            return Disposable(stop)

        return Observable(subscribe)

    def close(self):
        self.sender.close()


async def main(role, url, bell, count):
    async with rxmps3.connect(url, bell=bell) as db:
        if role == "write":
            for number in range(count):
                await db.put("time", time.time())
                print("written", number + 1)
                await asyncio.sleep(1)
            return
        print("listening", flush=True)
        before = db.status.value.requests
        seen = 0
        async with db.iterate(db.changes("time")) as changes:
            async for change in changes:
                seen += 1
                late = (time.time() - change.after) * 1000
                print(f"seen after {late:.0f} ms, {db.status.value.requests - before} requests so far", flush=True)
                if seen == count:
                    return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["read", "write"])
    parser.add_argument("url", help="file:PATH or s3://BUCKET/PREFIX")
    parser.add_argument("--interface", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--count", type=int, default=10, help="end after so many")
    given = parser.parse_args()
    bell = LanBell(given.interface)
    try:
        asyncio.run(main(given.role, given.url, bell, given.count))
    except rxmps3.Error as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        bell.close()
