"""Makes ``samples.npz`` from a recording: what the model gets, chunk by chunk, while it listens.

    python model_packaging/examples/silero_vad/make_samples.py goforward.raw

The committed file was made from ``test/data/goforward.raw`` of CMU PocketSphinx ("go forward ten meters", 16 kHz,
16 bit; the Debian package pocketsphinx-testdata has it), BSD-2-Clause, copyright Carnegie Mellon University.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch

CHUNK = 512
CONTEXT = 64
EVERY = 2


def main(recording: str) -> None:
    spec = importlib.util.find_spec("silero_vad")
    assert spec is not None
    assert spec.origin is not None
    core = torch.jit.load(str(Path(spec.origin).parent / "data" / "silero_vad.jit"))._model
    audio = np.fromfile(recording, dtype="<i2").astype(np.float32) / 32768
    state = torch.zeros(2, 1, 128)
    chunks, states, speech = [], [], []
    for start in range(CONTEXT, len(audio) - CHUNK, CHUNK):
        chunk = torch.from_numpy(audio[start - CONTEXT : start + CHUNK]).unsqueeze(0)
        chunks.append(chunk.numpy())
        states.append(state.movedim(1, 0).numpy())
        with torch.no_grad():
            probability, state = core(chunk, state)
        speech.append(float(probability))
    np.savez_compressed(
        Path(__file__).parent / "samples.npz",
        x=np.concatenate(chunks)[::EVERY],
        state=np.concatenate(states)[::EVERY],
    )
    print(f"{len(chunks[::EVERY])} chunks, speech in {sum(value > 0.5 for value in speech[::EVERY])} of them")


if __name__ == "__main__":
    main(sys.argv[1])
