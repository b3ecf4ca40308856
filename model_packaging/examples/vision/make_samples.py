"""Makes ``samples.npz``: 12 crops, UINT8 [12, 3, 96, 96], of two photographs that scikit-learn carries.

    python model_packaging/examples/vision/make_samples.py

Both are licensed CC BY 2.0 (https://creativecommons.org/licenses/by/2.0/): china.jpg by danielbuechele
(https://www.flickr.com/photos/danielbuechele/6061409035/) and flower.jpg by vultilion
(https://www.flickr.com/photos/vultilion/6056698931/). Changed here: cropped, and halved in size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_image

SIZE = 96
CORNERS = [(top, left) for top in (0, 210) for left in (0, 210, 420)]


def main() -> None:
    crops = []
    for name in ("china.jpg", "flower.jpg"):
        photograph = load_sample_image(name)
        for top, left in CORNERS:
            crop = photograph[top : top + 2 * SIZE, left : left + 2 * SIZE].astype(np.float32)
            halved = crop.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
            crops.append(halved.round().astype(np.uint8).transpose(2, 0, 1))
    np.savez_compressed(Path(__file__).parent / "samples.npz", image=np.stack(crops))


if __name__ == "__main__":
    main()
