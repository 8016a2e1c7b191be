"""What tests of admission run in other processes: `python admission_child.py WHAT ARGUMENTS`, told and asked by lines."""

import asyncio
import sys
import threading
from pathlib import Path

from motet.errors import TooManyRequestsError
from motet.serving.admission import Admission, AdmissionConfig


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def hit(path, amount, threads, attempts):
    """Threads that hit one rate."""
    from motet.serving.admission.rates import SqliteRates
    from motet.serving.config.admission import Rate

    rates = SqliteRates(Path(path))
    admitted = []

    def attempt():
        wanted = [(b"k" * 16, Rate(int(amount), 3600))]
        answers = [asyncio.run(rates.take(wanted)) for _ in range(int(attempts))]
        admitted.append(answers.count(0))

    workers = [threading.Thread(target=attempt) for _ in range(int(threads))]
    say("ready")
    sys.stdin.readline()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    say(sum(admitted))


def config_of(concurrent, queue, rate):
    limits = {} if concurrent == "-" else {"concurrent": int(concurrent), "queue": int(queue)}
    if rate != "-":
        limits["rate"] = rate
    return limits


def enter(folder, redis, concurrent, queue, rate, total, attempts):
    """Requests of one caller; those that are let in stay until the next line, and how many they were is said."""

    async def main():
        limits = config_of(concurrent, queue, rate)
        if total != "-":
            limits["total"] = {"concurrent": int(total), "queue": 0}
        written = {"classes": {"anonymous": limits}} | ({} if redis == "-" else {"redis": redis})
        admission = Admission(AdmissionConfig.read(written, "admission"), folder=folder)
        caller = admission.identify({}, "10.0.0.1")
        tickets = []
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)

        async def attempt():
            try:
                entered = admission.enter(caller)
                tickets.append(entered if not asyncio.iscoroutine(entered) else await entered)
            except TooManyRequestsError:
                pass

        await asyncio.gather(*(attempt() for _ in range(int(attempts))))
        say(len(tickets))
        await asyncio.to_thread(sys.stdin.readline)
        for ticket in tickets:
            ticket.leave()
        await admission.close()

    asyncio.run(main())


def churn(folder, concurrent, address):
    """Requests of one caller without end: each gives its slot back at once, and a line is said for each hundred."""

    async def main():
        written = {"classes": {"anonymous": {"concurrent": int(concurrent), "queue": 100}}}
        admission = Admission(AdmissionConfig.read(written, "admission"), folder=folder)
        caller = admission.identify({}, address)
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        done = 0

        async def go_on():
            nonlocal done
            while True:
                entered = admission.enter(caller)
                ticket = entered if not asyncio.iscoroutine(entered) else await entered
                await asyncio.sleep(0)
                ticket.leave()
                done += 1
                if done % 100 == 0:
                    say(done)

        await asyncio.gather(*(go_on() for _ in range(4)))

    asyncio.run(main())


if __name__ == "__main__":
    {"hit": hit, "enter": enter, "churn": churn}[sys.argv[1]](*sys.argv[2:])  # type: ignore[operator]
