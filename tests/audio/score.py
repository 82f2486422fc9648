"""PESQ (ITU-T P.862, P.862.2 for 16 kHz) of pairs of WAV files: reads a JSON list of {name, reference, heard} and prints {name: score}."""

import json
import sys
import wave
from multiprocessing import Pool

import numpy
from pesq import pesq


def read(path):
    with wave.open(path) as file:
        samples = numpy.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return file.getframerate(), samples


def score(pair):
    rate, reference = read(pair["reference"])
    other, heard = read(pair["heard"])
    assert rate == other, "both at one rate"
    return pair["name"], float(pesq(rate, reference, heard, "wb" if rate == 16000 else "nb"))


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        pairs = json.load(file)
    with Pool(2) as pool:
        print(json.dumps(dict(pool.map(score, pairs))))
