"""Models that look across their batch: whose answer depends on strangers' requests is refused, each by its own way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from model_packaging.sources.model import LoadedModel, dynamic_batch
from model_packaging.tensors.reference import make_reference
from spillway.contracts.manifest import PackageError, PackageSource

torch = pytest.importorskip("torch")


def model(forward: Callable[[Any], Any], count: int = 9, *, batched: bool = True) -> LoadedModel:
    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(8, 4)

        def forward(self, x: Any) -> Any:
            return self.head(forward(x))

    torch.manual_seed(1)
    samples = tuple({"x": torch.randn(1, 8)} for _ in range(count))
    source = PackageSource(name="m", origin="", licence="none", weights_sha256="")
    axes = dynamic_batch(("x",))
    return LoadedModel(Module().eval(), samples, ("y",), source, dynamic_axes=axes, batched=batched)


ACROSS: dict[str, Callable[[Any], Any]] = {
    "mean over the batch": lambda x: x - x.mean(0, keepdim=True),
    "softmax over axis 0": lambda x: torch.softmax(x, 0),
    "largest of the batch": lambda x: x / x.abs().amax(),
    "sums up row by row": lambda x: x.cumsum(0),
    "turns the batch round": lambda x: x.flip(0),
    "batch normalisation in training": lambda x: torch.nn.functional.batch_norm(
        x.reshape(-1, 2, 4), torch.zeros(2), torch.ones(2), training=True
    ).reshape(-1, 8),
}


@pytest.mark.parametrize("name", ACROSS)
@pytest.mark.parametrize("count", [9, 2, 1])
def test_an_answer_that_changes_with_its_neighbours_is_refused(name: str, count: int) -> None:
    with pytest.raises(PackageError, match=r"changes with the \d that stand beside it.*batched=False"):
        make_reference(model(ACROSS[name], count))


def test_served_one_at_a_time_it_may_look_where_it_likes() -> None:
    assert len(make_reference(model(ACROSS["mean over the batch"], batched=False)).batches) == 9


def test_rows_by_themselves_pass_and_the_reference_is_each_alone() -> None:
    plain = model(torch.tanh)
    reference = make_reference(plain)
    assert [len(batch["x"]) for batch in reference.batches] == [*[1] * 9, *[3] * 3, 8]
    wanted = replace(plain, expected=tuple({"y": plain.answer(sample)["y"]} for sample in plain.samples))
    assert make_reference(wanted).outputs[-1]["y"] == pytest.approx(reference.outputs[-1]["y"])


def test_chance_is_told_from_neighbours() -> None:
    with pytest.raises(PackageError, match="answers the same sample otherwise each time"):
        make_reference(model(lambda x: torch.nn.functional.dropout(x, 0.5, training=True)))


def test_a_model_that_takes_one_row_only_says_so() -> None:
    def one_row(x: Any) -> Any:
        if len(x) > 1:
            raise ValueError("one row, please")
        return x

    with pytest.raises(PackageError, match=r"not 3 at once.*ValueError: one row, please.*batched=False"):
        make_reference(model(one_row))
