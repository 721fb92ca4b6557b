# SPDX-License-Identifier: Apache-2.0
"""Processor time in ms that Python needs to load the index and all headers of a checkpoint.

Nothing is checked, everything is kept. read_headers.py DIRECTORY TIMES: prints the median.
"""
import json
import os
import statistics
import struct
import sys
import time


def load(directory):
    with open(os.path.join(directory, "model.safetensors.index.json"), "rb") as file:
        index = json.load(file)
    headers = {}
    for name in dict.fromkeys(index["weight_map"].values()):
        with open(os.path.join(directory, name), "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            headers[name] = json.loads(file.read(length))
    return index, headers


def main():
    times = []
    for _ in range(int(sys.argv[2])):
        start = time.process_time()
        kept = load(sys.argv[1])
        times.append(1000 * (time.process_time() - start))
        del kept
    print(f"{statistics.median(times):.1f}")


main()
