#!/usr/bin/env python3
"""Time commands in turn (A B A B ...) and print medians and ratios to the first one.

usage: bench_compare.py [-n RUNS] [--before CMD] NAME=COMMAND NAME=COMMAND...
Each command is a shell line; --before runs, untimed, ahead of every run (e.g. to remove an output). One warm-up run of
each is not counted. Prints wall and processor seconds (median, range) and the peak memory of the largest process.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time


def measure(command):
    start = time.monotonic()
    process = subprocess.Popen(["bash", "-c", "exec " + command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    if status != 0:
        sys.exit(f"failed: {command}\n{errors.decode(errors='replace')}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=5)
    parser.add_argument("--before", default="")
    parser.add_argument("commands", nargs="+", metavar="NAME=COMMAND")
    arguments = parser.parse_args()
    commands = [entry.split("=", 1) for entry in arguments.commands]
    results = {name: [] for name, _ in commands}
    for run in range(arguments.n + 1):
        for name, command in commands:
            if arguments.before:
                subprocess.run(["bash", "-c", arguments.before], check=True)
            result = measure(command)
            if run:
                results[name].append(result)
    first = None
    print(f"{'command':24} {'wall s':>8} {'range':>15} {'cpu s':>8} {'peak MiB':>9} {'wall':>6} {'cpu':>6}")
    for name, runs in results.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*runs))
        first = first or (wall, cpu)
        low, high = min(r[0] for r in runs), max(r[0] for r in runs)
        print(f"{name:24} {wall:8.2f} {low:7.2f}-{high:<7.2f} {cpu:8.2f} {peak:9.1f} {wall / first[0]:5.2f}x {cpu / first[1]:5.2f}x")


main()
